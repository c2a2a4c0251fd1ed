//! Computes every text's features once with the frozen encoder, on all cores.

use anyhow::Result;
use parking_lot::Mutex;
use rayon::prelude::*;
use tch::Tensor;

use super::progress::Progress;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::Reads;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::vectors;

/// What a head that reads this sees of texts, `[texts, width]` float32 on CPU, in their order.
///
/// Texts go one by one, since padding to a common length costs more than a batch gains on CPU.
///
/// # Errors
/// If libtorch fails.
pub(super) fn embed(encoder: &Encoder, reads: &Reads, texts: &[&Tokens]) -> Result<Tensor> {
    let progress = Progress::counting("embedding", texts.len())?;
    // A tensor can be sent to another thread, but not be shared with it: each thread clones the handles, not the memory.
    let encoder = Mutex::new(encoder.clone());
    let features = texts.par_iter().map_init(
        || encoder.lock().clone(),
        |encoder, text| {
            let vectors = vectors(encoder, &[*text], reads)?;
            progress.add(1);
            Ok(Vec::try_from(vectors.f_squeeze_dim(0)?)?)
        },
    );
    let features = features.collect::<Result<Vec<Vec<f32>>>>()?;
    progress.finish();
    // Of no texts, too: a head without validation rows has none.
    let shape = [texts.len() as i64, reads.width(encoder.lock().hidden_size())];
    Ok(Tensor::f_from_slice(&features.concat())?.f_view(shape)?)
}
