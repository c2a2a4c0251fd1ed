//! Computes each text's vector once with the frozen encoder, on all cores.

use anyhow::Result;
use parking_lot::Mutex;
use rayon::prelude::*;
use tch::Tensor;

use super::progress::ProgressDisplay;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::HeadInput;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::vectors;

/// The vectors of texts as a head with this input sees them: `[texts, width]` float32 on CPU, in the texts' order.
///
/// Each text has its own pass: on CPU, padding to a common length costs more than a batch gains.
///
/// # Errors
/// If libtorch fails.
pub(super) fn embed(encoder: &Encoder, reads: &HeadInput, texts: &[&Tokens]) -> Result<Tensor> {
    let progress = ProgressDisplay::counting("embedding", texts.len())?;
    let width = reads.width(encoder.hidden_size());
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
    // The view also gives the right shape if there are no texts: a head may have no external validation data.
    Ok(Tensor::f_from_slice(&features.concat())?.f_view([texts.len() as i64, width])?)
}
