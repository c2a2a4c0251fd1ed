//! The texts of one forward pass as tensors.

use anyhow::{Result, ensure};
use tch::{Device, Tensor};

use super::tokenizer::Tokens;

/// Texts of one forward pass, padded to the longest. A text alone is not padded.
#[derive(Debug)]
pub struct Batch {
    /// Token ids, `[texts, tokens]`.
    pub(crate) ids: Tensor,
    /// True where a token is not padding, `[texts, tokens]`; none if no text is padded.
    pub(crate) mask: Option<Tensor>,
}

impl Batch {
    /// Pads the texts with `pad_token` to the longest, and brings them to the device.
    ///
    /// # Errors
    /// If a text has no token, there is no text, or libtorch fails.
    pub fn new(texts: &[&Tokens], pad_token: i64, device: Device) -> Result<Self> {
        let longest = texts.iter().map(|text| text.ids().len()).max().unwrap_or(0);
        let shape = [texts.len() as i64, longest as i64];
        let mut ids = Vec::with_capacity(texts.len() * longest);
        let mut mask = Vec::with_capacity(texts.len() * longest);
        for text in texts {
            ensure!(!text.ids().is_empty(), "a text without tokens cannot be computed with");
            let padding = longest - text.ids().len();
            ids.extend_from_slice(text.ids());
            ids.extend(std::iter::repeat_n(pad_token, padding));
            mask.extend(std::iter::repeat_n(true, text.ids().len()));
            mask.extend(std::iter::repeat_n(false, padding));
        }
        let padded = mask.contains(&false);
        let on_device = |tensor: Tensor| tensor.f_view(shape)?.f_to_device(device);
        Ok(Self {
            ids: on_device(Tensor::f_from_slice(&ids)?)?,
            mask: if padded { Some(on_device(Tensor::f_from_slice(&mask)?)?) } else { None },
        })
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> i64 {
        self.ids.size().first().copied().unwrap_or(0)
    }

    /// Length of the longest text.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.ids.size().last().copied().unwrap_or(0)
    }

    /// True where a token is not padding, `[texts, tokens]`; none if no text is padded.
    #[must_use]
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(texts: &[&[i64]]) -> Result<Batch> {
        let texts: Vec<_> = texts.iter().map(|ids| Tokens::from(ids.to_vec())).collect();
        Batch::new(&texts.iter().collect::<Vec<_>>(), 9, Device::Cpu)
    }

    #[test]
    fn shorter_texts_are_padded_and_masked() {
        let batch = batch(&[&[1, 2, 3], &[4]]).unwrap();
        assert_eq!((batch.texts(), batch.tokens()), (2, 3));
        assert_eq!(Vec::<Vec<i64>>::try_from(&batch.ids).unwrap(), [[1, 2, 3], [4, 9, 9]]);
        let mask = Vec::<Vec<bool>>::try_from(batch.mask().unwrap()).unwrap();
        assert_eq!(mask, [[true, true, true], [true, false, false]]);
    }

    #[test]
    fn texts_of_one_length_have_no_mask() {
        assert!(batch(&[&[1, 2], &[3, 4]]).unwrap().mask().is_none());
    }

    #[test]
    fn a_text_without_tokens_is_an_error() {
        assert!(batch(&[&[1], &[]]).is_err());
    }
}
