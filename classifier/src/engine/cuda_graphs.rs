//! A model on CUDA whose forward passes are captured as graphs, one for each of a few shapes to which batches are padded.
//!
//! A pass through MiniLM launches some eighty kernels. For a small batch, launching them one by one takes the CPU longer
//! than computing them takes the GPU. Large batches are computed without a graph: their kernels take longer than the
//! launches.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;
use llm_router_torch_ops::copy_non_blocking;
use llm_router_torch_ops::cuda_graph::{CudaGraph, Recorder};
use tch::{Device, Kind, Tensor};

use super::backend::{Backend, BackendFactory};
use super::batching::Batching;
use crate::model::Model;
use crate::model::batch::Batch;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;

/// Numbers of texts for which passes are captured.
const TEXTS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The maximum number of tokens of a captured pass, padding included.
const MAX_TOKENS: usize = 4096;

/// Captures work as graphs and launches them, on the thread that created it.
pub trait GraphRecorder: 'static {
    /// Captured work.
    type Graph;

    /// Captures work that computes a tensor. Each launch of the graph overwrites that tensor. The graph may
    /// share a sibling's memory.
    ///
    /// # Errors
    /// If the work fails or cannot be captured.
    fn record(&self, sibling: Option<&Self::Graph>, work: Work) -> Result<(Self::Graph, Tensor)>;

    /// Queues the captured work.
    ///
    /// # Errors
    /// If the device fails.
    fn launch(&self, graph: &Self::Graph) -> Result<()>;

    /// Waits until everything that this thread has queued is done.
    ///
    /// # Errors
    /// If some of it failed.
    fn synchronize(&self) -> Result<()>;
}

/// Computes a tensor. Every call reads the same memory.
type Work = Box<dyn Fn() -> Result<Tensor>>;

impl GraphRecorder for Recorder {
    type Graph = CudaGraph;

    fn record(&self, sibling: Option<&CudaGraph>, work: Work) -> Result<(CudaGraph, Tensor)> {
        // The first run is not captured, because libtorch sets up resources at first use, and capturing that
        // fails.
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

/// Builds a [`CudaGraphBackend`] on the worker's thread, to which its recorder is bound.
pub struct CudaGraphs(pub Model);

impl BackendFactory for CudaGraphs {
    type Backend = CudaGraphBackend;

    fn build(self) -> CudaGraphBackend {
        CudaGraphBackend::new(self.0, Recorder::new().map_err(Into::into))
    }
}

/// A model with its captured passes. Batches of other shapes are computed without a graph.
pub struct CudaGraphBackend<R: GraphRecorder = Recorder> {
    model: Model,
    /// None if nothing can be captured.
    passes: Option<CapturedPasses<R>>,
}

struct CapturedPasses<R: GraphRecorder> {
    recorder: R,
    /// None for a shape that could not be captured.
    by_shape: RefCell<HashMap<Shape, Option<CapturedPass<R::Graph>>>>,
}

/// The padded shape of batches, and their outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    texts: usize,
    tokens: usize,
    outputs: Outputs,
}

/// A forward pass of one shape.
struct CapturedPass<G> {
    shape: Shape,
    ids: PinnedBuffer,
    mask: PinnedBuffer,
    pooled: PinnedBuffer,
    rows: PinnedBuffer,
    graph: G,
}

/// A tensor on the device, and the pinned memory on the CPU through which it is written or read.
struct PinnedBuffer {
    host: Tensor,
    device: Tensor,
}

impl<R: GraphRecorder> CudaGraphBackend<R> {
    /// Captures all shapes for the most frequent output: the scores of the heads.
    fn new(model: Model, recorder: Result<R>) -> Self {
        let recorder = recorder.inspect_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "no CUDA graphs; small batches are slower");
        });
        let passes = recorder.ok().map(|recorder| CapturedPasses { recorder, by_shape: RefCell::default() });
        if let Some(passes) = &passes {
            let start = Instant::now();
            let text = Tokens::from(vec![model.pad_token()]);
            let captured = |shape| matches!(passes.classify(&model, shape, &[&text]), Some(Ok(_)));
            let shapes = Shape::all(model.max_tokens()).filter(|&shape| captured(shape)).count();
            tracing::info!(shapes, seconds = start.elapsed().as_secs_f64(), "forward passes captured");
        }
        Self { model, passes }
    }
}

impl<R: GraphRecorder> CapturedPasses<R> {
    /// The predictions of a captured pass of this shape; none if the shape cannot be captured.
    fn classify(&self, model: &Model, shape: Shape, texts: &[&Tokens]) -> Option<Result<Vec<Prediction>>> {
        let mut passes = self.by_shape.borrow_mut();
        if !passes.contains_key(&shape) {
            let sibling = passes.values().flatten().next().map(|pass| &pass.graph);
            let pass = CapturedPass::record(&self.recorder, sibling, model, shape);
            let pass = pass.inspect_err(|error| {
                tracing::warn!(?shape, error = format!("{error:#}"), "cannot capture this shape");
            });
            passes.insert(shape, pass.ok());
        }
        let pass = passes.get(&shape)?.as_ref()?;
        Some(pass.classify(&self.recorder, model, texts))
    }
}

impl<R: GraphRecorder> Backend for CudaGraphBackend<R> {
    fn classify(&self, texts: &[&Tokens], outputs: Outputs) -> Result<Vec<Prediction>> {
        let captured = || {
            let shape = Shape::smallest_for(texts, outputs, self.model.max_tokens())?;
            self.passes.as_ref()?.classify(&self.model, shape, texts)
        };
        captured().unwrap_or_else(|| self.model.classify(texts, outputs))
    }
}

impl Shape {
    /// The smallest shape with room for the texts, if any.
    fn smallest_for(texts: &[&Tokens], outputs: Outputs, max_tokens: usize) -> Option<Self> {
        let longest = texts.iter().map(|text| text.ids().len()).max()?;
        let tokens = Batching::lengths(max_tokens).find(|&length| length >= longest)?;
        let texts = TEXTS.into_iter().find(|&room| room >= texts.len())?;
        (texts * tokens <= MAX_TOKENS).then_some(Self { texts, tokens, outputs })
    }

    /// Every shape for scores.
    fn all(max_tokens: usize) -> impl Iterator<Item = Self> {
        let with_length = |tokens| TEXTS.map(move |texts| Self { texts, tokens, outputs: Outputs::Scores });
        let shapes = Batching::lengths(max_tokens).flat_map(with_length);
        shapes.filter(|shape| shape.texts * shape.tokens <= MAX_TOKENS)
    }

    /// The inputs of a pass of this shape for these texts.
    fn fill(self, texts: &[&Tokens], pad_token: i64) -> Filled {
        let room = self.texts * self.tokens;
        let [mut mask, mut pooled] = [(); 2].map(|()| Vec::with_capacity(room));
        let mut ids = Vec::with_capacity(room);
        // A row without a text has one token, because attention over no tokens yields NaN.
        let empty = [pad_token];
        for row in 0..self.texts {
            let (text, own) = texts.get(row).map_or((&empty[..], 1), |text| (text.ids(), text.pooled()));
            ids.extend_from_slice(text);
            mask.extend(std::iter::repeat_n(true, text.len()));
            pooled.extend(std::iter::repeat_n(true, own));
            ids.resize((row + 1) * self.tokens, pad_token);
            mask.resize((row + 1) * self.tokens, false);
            pooled.resize((row + 1) * self.tokens, false);
        }
        Filled { ids, mask, pooled }
    }
}

/// The inputs of a pass, `[texts, tokens]` each, as in [`Batch`].
struct Filled {
    ids: Vec<i64>,
    mask: Vec<bool>,
    pooled: Vec<bool>,
}

impl<G> CapturedPass<G> {
    fn record<R: GraphRecorder<Graph = G>>(
        recorder: &R,
        sibling: Option<&G>,
        model: &Model,
        shape: Shape,
    ) -> Result<Self> {
        let device = model.device();
        let size = [shape.texts as i64, shape.tokens as i64];
        let ids = PinnedBuffer::for_input(size, Kind::Int64, device)?;
        let mask = PinnedBuffer::for_input(size, Kind::Bool, device)?;
        let pooled = PinnedBuffer::for_input(size, Kind::Bool, device)?;
        let batch = Batch {
            ids: ids.device.shallow_clone(),
            mask: Some(mask.device.shallow_clone()),
            pooled: Some(pooled.device.shallow_clone()),
        };
        let (owned, outputs) = (model.clone(), shape.outputs);
        let (graph, rows) = recorder.record(sibling, Box::new(move || owned.forward(&batch, outputs)))?;
        Ok(Self { shape, ids, mask, pooled, rows: PinnedBuffer::for_output(rows)?, graph })
    }

    fn classify<R: GraphRecorder<Graph = G>>(
        &self,
        recorder: &R,
        model: &Model,
        texts: &[&Tokens],
    ) -> Result<Vec<Prediction>> {
        let queued = self.queue(recorder, &self.shape.fill(texts, model.pad_token()));
        // Even after an error: copies may be under way, and the next call writes to the same memory.
        recorder.synchronize()?;
        queued?;
        model.predictions(texts, self.shape.outputs, &self.rows.host)
    }

    /// Queues the pass. Its buffers must not be touched until the recorder is synchronised.
    fn queue<R: GraphRecorder<Graph = G>>(&self, recorder: &R, filled: &Filled) -> Result<()> {
        self.ids.write(&filled.ids)?;
        self.mask.write(&filled.mask)?;
        self.pooled.write(&filled.pooled)?;
        recorder.launch(&self.graph)?;
        self.rows.read()
    }
}

impl PinnedBuffer {
    /// Memory that captured work reads.
    fn for_input(size: [i64; 2], kind: Kind, device: Device) -> Result<Self> {
        // Ones are a valid batch of one-token texts, so a pass can run before the first write.
        let host = Tensor::f_ones(size, (kind, Device::Cpu))?;
        Ok(Self { device: host.f_to_device(device)?, host: pinned(host, device)? })
    }

    /// Memory that captured work writes.
    fn for_output(device: Tensor) -> Result<Self> {
        let host = Tensor::f_zeros(device.size(), (device.kind(), Device::Cpu))?;
        Ok(Self { host: pinned(host, device.device())?, device })
    }

    /// Writes the numbers to the host's memory, and queues the copy to the device.
    fn write<T: tch::kind::Element>(&self, numbers: &[T]) -> Result<()> {
        let numbers = Tensor::f_from_slice(numbers)?.f_view(self.host.size().as_slice())?;
        self.host.shallow_clone().f_copy_(&numbers)?;
        // SAFETY: `CapturedPass::classify`, the only user, synchronises before it touches either again.
        #[allow(unsafe_code)]
        Ok(unsafe { copy_non_blocking(&self.device, &self.host) }?)
    }

    /// Queues the copy to the host.
    fn read(&self) -> Result<()> {
        // SAFETY: `CapturedPass::classify`, the only user, synchronises before it touches either again.
        #[allow(unsafe_code)]
        Ok(unsafe { copy_non_blocking(&self.host, &self.device) }?)
    }
}

/// Moves the tensor to pinned memory, which a GPU reads and writes directly.
fn pinned(host: Tensor, device: Device) -> Result<Tensor> {
    Ok(if device.is_cuda() { host.f_pin_memory(device)? } else { host })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Keeps the work, and repeats it at each launch.
    struct FakeRecorder;

    struct FakeGraph {
        work: Work,
        result: Tensor,
    }

    impl GraphRecorder for FakeRecorder {
        type Graph = FakeGraph;

        fn record(&self, _: Option<&FakeGraph>, work: Work) -> Result<(FakeGraph, Tensor)> {
            let result = work()?;
            Ok((FakeGraph { work, result: result.shallow_clone() }, result))
        }

        fn launch(&self, graph: &FakeGraph) -> Result<()> {
            Ok(graph.result.shallow_clone().f_copy_(&(graph.work)()?)?)
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

    fn assert_near(captured: &[Prediction], plain: &[Prediction]) {
        let numbers = |prediction: &Prediction| {
            let scores =
                prediction.scores.iter().flat_map(|scores| scores.confidences.iter().chain(&scores.score));
            scores.chain(prediction.embedding.iter().flatten()).copied().collect::<Vec<_>>()
        };
        assert_eq!(captured.len(), plain.len());
        for (captured, plain) in captured.iter().map(numbers).zip(plain.iter().map(numbers)) {
            assert_eq!(captured.len(), plain.len());
            assert!(!plain.is_empty());
            for (captured, plain) in captured.iter().zip(&plain) {
                assert!((captured - plain).abs() < 1e-3, "{captured} {plain}");
            }
        }
    }

    #[test]
    fn a_captured_pass_predicts_the_same_each_time() {
        let (model, captured) = (model(), CudaGraphBackend::new(model(), Ok(FakeRecorder)));
        // The second and third use the same pass.
        for (lengths, outputs) in [
            (&[3, 9, 5][..], Outputs::Scores),
            (&[12], Outputs::Scores),
            (&[16], Outputs::Scores),
            (&[16, 2, 2, 2, 7], Outputs::ScoresAndEmbedding),
        ] {
            let texts = texts(lengths);
            let texts: Vec<_> = texts.iter().collect();
            let plain = model.classify(&texts, outputs).unwrap();
            assert_near(&captured.classify(&texts, outputs).unwrap(), &plain);
        }
        let passes = captured.passes.unwrap().by_shape;
        let foreseen = Shape::all(model.max_tokens()).count();
        assert_eq!(passes.borrow().len(), foreseen + 1, "one more, captured on demand");
    }

    #[test]
    fn without_a_recorder_it_computes_without_graphs() {
        let captured = CudaGraphBackend::<FakeRecorder>::new(model(), Err(anyhow::anyhow!("no CUDA")));
        let (model, texts) = (model(), texts(&[4, 2]));
        let texts: Vec<_> = texts.iter().collect();
        let plain = model.classify(&texts, Outputs::Scores).unwrap();
        assert_near(&captured.classify(&texts, Outputs::Scores).unwrap(), &plain);
    }

    #[test]
    fn a_shape_has_room_for_the_texts() {
        let shape = |lengths: &[usize]| {
            let texts = texts(lengths);
            let shape = Shape::smallest_for(&texts.iter().collect::<Vec<_>>(), Outputs::Scores, 256)?;
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
