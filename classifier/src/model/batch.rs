//! The texts of one forward pass as tensors.

use anyhow::{Result, ensure};
use llm_router_torch_ops::copy_non_blocking;
use tch::{Device, Tensor};

use super::tokenizer::Tokens;

/// The length to which the texts of a pass are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PadTo {
    /// The longest text's: a text alone is not padded.
    Longest,
    /// The next multiple of 16, up to `max` tokens. oneDNN compiles its 16-bit kernels for each number of rows and keeps
    /// them, at 1 to 2 MB a length; and its tiles have 16 rows, so the padding costs next to nothing.
    MultipleOf16 { max: usize },
}

impl PadTo {
    /// The padded length for texts whose longest has this length.
    pub(crate) fn length(self, longest: usize) -> usize {
        match self {
            Self::Longest => longest,
            Self::MultipleOf16 { max } => longest.next_multiple_of(16).min(max).max(longest),
        }
    }
}

/// Texts of one forward pass, padded to the longest or a little more.
#[derive(Debug)]
pub struct Batch {
    /// Token ids, `[texts, tokens]`.
    pub(crate) ids: Tensor,
    /// True where a token is not padding, `[texts, tokens]`; none if no text is padded.
    pub(crate) mask: Option<Tensor>,
    /// True where a token is the text's, neither padding nor context, `[texts, tokens]`; none if all are.
    pub(crate) pooled: Option<Tensor>,
}

impl Batch {
    /// Pads the texts with `pad_token` to one length, and moves them to the device.
    ///
    /// # Errors
    /// If a text has no token, there is no text, or libtorch fails.
    pub(crate) fn new(texts: &[&Tokens], pad_token: i64, pad_to: PadTo, device: Device) -> Result<Self> {
        let longest = pad_to.length(texts.iter().map(|text| text.ids().len()).max().unwrap_or(0));
        let shape = [texts.len() as i64, longest as i64];
        let mut ids = Vec::with_capacity(texts.len() * longest);
        let mut mask = Vec::with_capacity(texts.len() * longest);
        let mut pooled = Vec::with_capacity(texts.len() * longest);
        for text in texts {
            ensure!(!text.ids().is_empty(), "a text has no tokens");
            let padding = longest - text.ids().len();
            ids.extend_from_slice(text.ids());
            ids.extend(std::iter::repeat_n(pad_token, padding));
            mask.extend(std::iter::repeat_n(true, text.ids().len()));
            mask.extend(std::iter::repeat_n(false, padding));
            pooled.extend(std::iter::repeat_n(true, text.pooled()));
            pooled.extend(std::iter::repeat_n(false, longest - text.pooled()));
        }
        let on_device = |tensor: Tensor| to_device(&tensor.f_view(shape)?, device);
        let some_left_out =
            |of: &[bool]| of.contains(&false).then(|| on_device(Tensor::f_from_slice(of)?)).transpose();
        let padding = some_left_out(&mask)?;
        let pooled = if pooled == mask {
            padding.as_ref().map(Tensor::shallow_clone)
        } else {
            some_left_out(&pooled)?
        };
        Ok(Self { ids: on_device(Tensor::f_from_slice(&ids)?)?, mask: padding, pooled })
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> i64 {
        self.ids.size().first().copied().unwrap_or(0)
    }

    /// Length of the texts with their padding.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.ids.size().last().copied().unwrap_or(0)
    }

    /// True where a token is not padding, `[texts, tokens]`; none if no text is padded.
    #[must_use]
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// True where a token is the text's, neither padding nor context, `[texts, tokens]`; none if all are.
    #[must_use]
    pub fn pooled(&self) -> Option<&Tensor> {
        self.pooled.as_ref()
    }
}

/// The tensor on the device. On CUDA, the copy is only queued, and precedes work that is queued later.
fn to_device(tensor: &Tensor, device: Device) -> Result<Tensor> {
    if !device.is_cuda() {
        return Ok(tensor.f_to_device(device)?);
    }
    let there = Tensor::f_empty(tensor.size(), (tensor.kind(), device))?;
    // SAFETY: nothing else uses the pinned memory, and the new tensor is used by work on the same stream
    // only.
    #[allow(unsafe_code)]
    unsafe {
        copy_non_blocking(&there, &tensor.f_pin_memory(device)?)?;
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(texts: &[&[i64]]) -> Result<Batch> {
        let texts: Vec<_> = texts.iter().map(|ids| Tokens::from(ids.to_vec())).collect();
        Batch::new(&texts.iter().collect::<Vec<_>>(), 9, PadTo::Longest, Device::Cpu)
    }

    #[test]
    fn texts_can_be_padded_to_multiples_of_16() {
        let pad_to = PadTo::MultipleOf16 { max: 40 };
        assert_eq!([1, 16, 17, 39, 40].map(|longest| pad_to.length(longest)), [16, 16, 32, 40, 40]);
        let text = Tokens::from(vec![1, 2, 3]);
        let batch = Batch::new(&[&text], 9, pad_to, Device::Cpu).unwrap();
        assert_eq!((batch.tokens(), batch.mask().is_some()), (16, true));
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
