//! Computes every text's features once with the frozen encoder, on all cores.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tch::Tensor;

use super::data::Row;
use super::parallel;
use crate::model::encoder::Encoder;
use crate::model::features;
use crate::model::tokenizer::Tokenizer;

/// The features that a head of this layer sees of the rows, `[rows, features]` float32 on CPU, in their order.
///
/// Texts go one by one, since padding to a common length costs more than a batch gains on CPU.
///
/// # Errors
/// If libtorch fails.
pub(super) fn embed(encoder: &Encoder, tokenizer: &Tokenizer, layer: usize, rows: &[Row]) -> Result<Tensor> {
    let style = ProgressStyle::with_template("embedding {bar:30} {pos}/{len} texts, {eta} left")?;
    let progress = ProgressBar::new(rows.len() as u64).with_style(style);
    let features: Vec<Vec<f32>> = parallel::map(
        rows.len(),
        || encoder.clone(),
        |encoder, index| {
            let text = rows.get(index).map_or("", |row| row.text.as_str());
            let features = features(encoder, &[&tokenizer.tokenize(text)?], layer)?;
            progress.inc(1);
            Ok(Vec::try_from(features.f_squeeze_dim(0)?)?)
        },
    )?;
    progress.finish();
    let shape = [rows.len() as i64, features.first().map_or(0, Vec::len) as i64];
    Ok(Tensor::f_from_slice(&features.concat())?.f_view(shape)?)
}
