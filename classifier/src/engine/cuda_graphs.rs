//! A model on CUDA whose forward passes are recorded as graphs, one for each of a few shapes that batches are brought
//! to.
//!
//! A pass through MiniLM is some eighty kernels, and naming one takes the CPU longer than a small batch takes the GPU.
//! Large batches are computed as they are: there the kernels take longer than their names.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;
use llm_router_torch_ops::copy;
use llm_router_torch_ops::cuda_graph::{CudaGraph, Recorder};
use tch::{Device, Kind, Tensor};

use super::backend::Backend;
use super::batching::Batching;
use crate::model::Model;
use crate::model::batch::Batch;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;

/// How many texts a recorded pass has room for.
const TEXTS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Most tokens of a recorded pass, padding included.
const MAX_TOKENS: usize = 4096;

/// What passes are recorded with.
pub trait Record: Send + 'static {
    /// Work that was recorded.
    type Graph: Send;

    /// Records work that gives a tensor, which launching the graph fills again. A sibling may share its memory.
    ///
    /// # Errors
    /// If the work fails or cannot be recorded.
    fn record(&self, sibling: Option<&Self::Graph>, work: Work) -> Result<(Self::Graph, Tensor)>;

    /// Queues the recorded work.
    ///
    /// # Errors
    /// If the device refuses.
    fn launch(&self, graph: &Self::Graph) -> Result<()>;

    /// Waits until all is done that this thread has queued.
    ///
    /// # Errors
    /// If some of it failed.
    fn synchronize(&self) -> Result<()>;
}

/// Computes a tensor, from the same memory each time.
type Work = Box<dyn Fn() -> Result<Tensor> + Send>;

impl Record for Recorder {
    type Graph = CudaGraph;

    fn record(&self, sibling: Option<&CudaGraph>, work: Work) -> Result<(CudaGraph, Tensor)> {
        // Once as it is, since libtorch sets up at first use what cannot be recorded.
        let _ = work()?;
        Recorder::synchronize(self)?;
        Recorder::record(self, sibling, work)
    }

    fn launch(&self, graph: &CudaGraph) -> Result<()> {
        Ok(graph.launch()?)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(Recorder::synchronize(self)?)
    }
}

/// A model with its recorded passes. What cannot be recorded is computed as it is.
pub struct Recorded<R: Record = Recorder> {
    model: Model,
    /// Makes the thread that classifies ready to record.
    recorder: fn() -> Result<R>,
    state: OnceCell<Option<State<R>>>,
}

/// What the thread that classifies has.
struct State<R: Record> {
    recorder: R,
    /// None for a shape that could not be recorded.
    passes: RefCell<HashMap<Shape, Option<Pass<R::Graph>>>>,
}

/// What batches are brought to, and what is wanted of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    texts: usize,
    tokens: usize,
    want: Outputs,
}

/// A forward pass of one shape.
struct Pass<G> {
    shape: Shape,
    ids: Staged,
    mask: Staged,
    rows: Staged,
    graph: G,
}

/// A tensor on the device, and the memory on CPU through which it is written or read.
struct Staged {
    host: Tensor,
    device: Tensor,
}

impl Recorded {
    /// Records as CUDA graphs.
    #[must_use]
    pub fn on_cuda(model: Model) -> Self {
        Self::new(model, || Ok(Recorder::new()?))
    }
}

impl<R: Record> Recorded<R> {
    fn new(model: Model, recorder: fn() -> Result<R>) -> Self {
        Self { model, recorder, state: OnceCell::new() }
    }

    fn state(&self) -> Option<&State<R>> {
        let start = || match (self.recorder)() {
            Ok(recorder) => Some(State { recorder, passes: RefCell::default() }),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no CUDA graphs; small batches are slower");
                None
            }
        };
        self.state.get_or_init(start).as_ref()
    }
}

impl<R: Record> State<R> {
    /// The answers of a recorded pass of this shape; none if it cannot be recorded.
    fn classify(&self, model: &Model, shape: Shape, texts: &[&Tokens]) -> Option<Result<Vec<Prediction>>> {
        let mut passes = self.passes.borrow_mut();
        if !passes.contains_key(&shape) {
            let sibling = passes.values().flatten().next().map(|pass| &pass.graph);
            let pass = Pass::record(&self.recorder, sibling, model, shape);
            let pass = pass.inspect_err(|error| {
                tracing::warn!(?shape, error = format!("{error:#}"), "cannot record this shape");
            });
            passes.insert(shape, pass.ok());
        }
        let pass = passes.get(&shape)?.as_ref()?;
        Some(pass.classify(&self.recorder, model, texts))
    }
}

impl<R: Record> Backend for Recorded<R> {
    /// Records all shapes for what policies ask most: the heads' scores.
    fn prepare(&self) {
        let Some(state) = self.state() else { return };
        let start = Instant::now();
        let text = Tokens::from(vec![self.model.pad_token()]);
        let classified = |shape| state.classify(&self.model, shape, &[&text]);
        let shapes = Shape::all(self.model.max_tokens());
        let shapes = shapes.filter(|&shape| matches!(classified(shape), Some(Ok(_)))).count();
        tracing::info!(shapes, seconds = start.elapsed().as_secs_f64(), "forward passes recorded");
    }

    fn classify(&self, texts: &[&Tokens], want: Outputs) -> Result<Vec<Prediction>> {
        let pass = || {
            let shape = Shape::holding(texts, want, self.model.max_tokens())?;
            self.state()?.classify(&self.model, shape, texts)
        };
        pass().unwrap_or_else(|| self.model.classify(texts, want))
    }
}

impl Shape {
    /// The smallest that has room for the texts, if any has.
    fn holding(texts: &[&Tokens], want: Outputs, most: usize) -> Option<Self> {
        let longest = texts.iter().map(|text| text.ids().len()).max()?;
        let tokens = Batching::lengths(most).find(|&length| length >= longest)?;
        let texts = TEXTS.into_iter().find(|&room| room >= texts.len())?;
        (texts * tokens <= MAX_TOKENS).then_some(Self { texts, tokens, want })
    }

    /// Every shape for scores.
    fn all(most: usize) -> impl Iterator<Item = Self> {
        let of_length = |tokens| TEXTS.map(move |texts| Self { texts, tokens, want: Outputs::Scores });
        Batching::lengths(most).flat_map(of_length).filter(|shape| shape.texts * shape.tokens <= MAX_TOKENS)
    }
}

impl<G> Pass<G> {
    fn record<R: Record<Graph = G>>(
        recorder: &R,
        sibling: Option<&G>,
        model: &Model,
        shape: Shape,
    ) -> Result<Self> {
        let device = model.device();
        let size = [shape.texts as i64, shape.tokens as i64];
        let ids = Staged::to_be_read(size, Kind::Int64, device)?;
        let mask = Staged::to_be_read(size, Kind::Bool, device)?;
        let batch = Batch { ids: ids.device.shallow_clone(), mask: Some(mask.device.shallow_clone()) };
        let (owned, want) = (model.clone(), shape.want);
        let (graph, rows) = recorder.record(sibling, Box::new(move || owned.forward(&batch, want)))?;
        Ok(Self { shape, ids, mask, rows: Staged::to_be_written(rows)?, graph })
    }

    fn classify<R: Record<Graph = G>>(
        &self,
        recorder: &R,
        model: &Model,
        texts: &[&Tokens],
    ) -> Result<Vec<Prediction>> {
        let (ids, mask) = self.shape.fill(texts, model.pad_token());
        self.ids.write(&ids)?;
        self.mask.write(&mask)?;
        recorder.launch(&self.graph)?;
        copy(&self.rows.host, &self.rows.device)?;
        recorder.synchronize()?;
        model.answers(texts, self.shape.want, &self.rows.host)
    }
}

impl Shape {
    /// Token ids and mask of the texts in this shape.
    fn fill(self, texts: &[&Tokens], pad_token: i64) -> (Vec<i64>, Vec<bool>) {
        let mut ids = Vec::with_capacity(self.texts * self.tokens);
        let mut mask = Vec::with_capacity(self.texts * self.tokens);
        // A row without a text has one token, since attention to none is not a number.
        let none = [pad_token];
        for row in 0..self.texts {
            let text = texts.get(row).map_or(&none[..], |text| text.ids());
            ids.extend_from_slice(text);
            mask.extend(std::iter::repeat_n(true, text.len()));
            ids.resize((row + 1) * self.tokens, pad_token);
            mask.resize((row + 1) * self.tokens, false);
        }
        (ids, mask)
    }
}

impl Staged {
    /// Memory that recorded work reads.
    fn to_be_read(size: [i64; 2], kind: Kind, device: Device) -> Result<Self> {
        // As a batch of texts of one token, so that it can be computed with before it is written.
        let host = Tensor::f_ones(size, (kind, Device::Cpu))?;
        Ok(Self { device: host.f_to_device(device)?, host: pinned(host, device)? })
    }

    /// Memory that recorded work has written.
    fn to_be_written(device: Tensor) -> Result<Self> {
        let host = Tensor::f_zeros(device.size(), (device.kind(), Device::Cpu))?;
        Ok(Self { host: pinned(host, device.device())?, device })
    }

    /// Queues the copy; what is written must not change before it is done.
    fn write<T: tch::kind::Element>(&self, numbers: &[T]) -> Result<()> {
        let numbers = Tensor::f_from_slice(numbers)?.f_view(self.host.size().as_slice())?;
        copy(&self.host, &numbers)?;
        Ok(copy(&self.device, &self.host)?)
    }
}

/// In memory that a GPU reads and writes by itself.
fn pinned(host: Tensor, device: Device) -> Result<Tensor> {
    Ok(if device.is_cuda() { host.f_pin_memory(device)? } else { host })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Records by keeping the work, and does it again.
    struct Again;

    struct Kept {
        work: Work,
        result: Tensor,
    }

    impl Record for Again {
        type Graph = Kept;

        fn record(&self, _: Option<&Kept>, work: Work) -> Result<(Kept, Tensor)> {
            let result = work()?;
            Ok((Kept { work, result: result.shallow_clone() }, result))
        }

        fn launch(&self, graph: &Kept) -> Result<()> {
            Ok(copy(&graph.result, &(graph.work)()?)?)
        }

        fn synchronize(&self) -> Result<()> {
            Ok(())
        }
    }

    fn model() -> Model {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders/nvidia");
        Model::load(&folder, Device::Cpu).unwrap().0
    }

    fn texts(lengths: &[usize]) -> Vec<Tokens> {
        lengths.iter().map(|&length| Tokens::from((1..=length as i64).collect::<Vec<_>>())).collect()
    }

    fn assert_near(recorded: &[Prediction], plain: &[Prediction]) {
        let numbers = |answer: &Prediction| {
            let scores =
                answer.scores.iter().flat_map(|scores| scores.confidences.iter().chain(&scores.score));
            scores.chain(answer.embedding.iter().flatten()).copied().collect::<Vec<_>>()
        };
        assert_eq!(recorded.len(), plain.len());
        for (recorded, plain) in recorded.iter().map(numbers).zip(plain.iter().map(numbers)) {
            assert_eq!(recorded.len(), plain.len());
            assert!(!plain.is_empty());
            for (recorded, plain) in recorded.iter().zip(&plain) {
                assert!((recorded - plain).abs() < 1e-3, "{recorded} {plain}");
            }
        }
    }

    #[test]
    fn a_recorded_pass_says_the_same_each_time() {
        let (model, recorded) = (model(), Recorded::new(model(), || Ok(Again)));
        recorded.prepare();
        // The second and third take the same pass.
        for (lengths, want) in [
            (&[3, 9, 5][..], Outputs::Scores),
            (&[12], Outputs::Scores),
            (&[16], Outputs::Scores),
            (&[16, 2, 2, 2, 7], Outputs::ScoresAndEmbedding),
        ] {
            let texts = texts(lengths);
            let texts: Vec<_> = texts.iter().collect();
            let plain = model.classify(&texts, want).unwrap();
            assert_near(&recorded.classify(&texts, want).unwrap(), &plain);
        }
        let passes = recorded.state().unwrap().passes.borrow();
        assert_eq!(passes.len(), Shape::all(model.max_tokens()).count() + 1, "one that was not foreseen");
    }

    #[test]
    fn where_nothing_can_be_recorded_it_computes_as_it_is() {
        let (model, recorded) = (model(), Recorded::<Again>::new(model(), || anyhow::bail!("no CUDA")));
        recorded.prepare();
        let texts = texts(&[4, 2]);
        let texts: Vec<_> = texts.iter().collect();
        let plain = model.classify(&texts, Outputs::Scores).unwrap();
        assert_near(&recorded.classify(&texts, Outputs::Scores).unwrap(), &plain);
    }

    #[test]
    fn a_shape_has_room_for_the_texts() {
        let shape = |lengths: &[usize]| {
            let texts = texts(lengths);
            let shape = Shape::holding(&texts.iter().collect::<Vec<_>>(), Outputs::Scores, 256)?;
            Some((shape.texts, shape.tokens))
        };
        assert_eq!(shape(&[1]), Some((1, 16)));
        assert_eq!(shape(&[17, 3, 3]), Some((4, 24)));
        assert_eq!(shape(&[256; 16]), Some((16, 256)));
        assert_eq!(shape(&[256; 17]), None, "too large to be worth it");
        assert_eq!(shape(&[257]), None);
        assert_eq!(shape(&[2; 33]), None);
    }
}
