use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::model::prediction::{HeadOutput, Prediction};
use crate::steps::Step;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Parses a text, which is a number, as one token.
struct Numbers;

impl Tokenize for Numbers {
    fn tokenize(&self, text: &Excerpt) -> Result<Tokens> {
        Ok(Tokens::from(vec![text.beginning().parse()?]))
    }
}

/// Reports each batch to the test, and waits for the test's permission to classify it.
struct Gated {
    taken: Sender<Tokens>,
    gate: Mutex<Receiver<()>>,
}

struct Gate {
    taken: Receiver<Tokens>,
    open: Sender<()>,
}

impl Backend for Gated {
    fn classify(&self, texts: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        for &text in texts {
            self.taken.send(text.clone())?;
            self.gate.lock().recv()?;
        }
        let embedding = Some(vec![1.0]);
        Ok(vec![Prediction { embedding, ..Prediction::default() }; texts.len()])
    }
}

impl Gate {
    /// Waits until the worker has taken this text.
    fn taken(&self, id: i64) {
        assert_eq!(self.taken.recv_timeout(TIMEOUT).unwrap().ids(), [id]);
    }

    /// Lets the worker classify this number of texts.
    fn open(&self, texts: usize) {
        (0..texts).for_each(|_| self.open.send(()).unwrap());
    }
}

fn text(id: i64) -> Excerpt {
    Excerpt::from(id.to_string())
}

/// One tokenizer thread, so that texts keep their order.
fn start<F: BackendFactory>(
    tokenizer: impl Tokenize,
    backends: Vec<F>,
    queue: usize,
    batching: Batching,
) -> Arc<Engine> {
    let options = EngineOptions { queue, batching, tokenizers: NonZeroUsize::MIN };
    Arc::new(Engine::start(&Arc::new(tokenizer), backends, options, Arc::default()).unwrap())
}

fn gated_backend() -> (Gated, Gate) {
    let (taken, took) = channel();
    let (open, gate) = channel();
    (Gated { taken, gate: Mutex::new(gate) }, Gate { taken: took, open })
}

fn gated(queue: usize) -> (Arc<Engine>, Gate) {
    let (backend, gate) = gated_backend();
    (start(Numbers, vec![backend], queue, Batching::Alone), gate)
}

async fn classify(engine: &Engine, id: i64) -> Scored {
    timeout(TIMEOUT, engine.classify(text(id), Outputs::Scores, None, None)).await.unwrap()
}

/// Submits a text from a separate task, and returns once it is in the queue.
async fn submit(engine: &Arc<Engine>, id: i64) -> JoinHandle<Scored> {
    let submitting = Arc::clone(engine);
    let task = tokio::spawn(async move { classify(&submitting, id).await });
    tokio::task::yield_now().await;
    task
}

/// Submits a background text likewise.
async fn submit_background(engine: &Arc<Engine>, id: i64) -> JoinHandle<Scored> {
    let submitting = Arc::clone(engine);
    let classify = async move { submitting.classify_in_background(text(id), Outputs::Embedding).await };
    let task = tokio::spawn(async move { timeout(TIMEOUT, classify).await.unwrap() });
    tokio::task::yield_now().await;
    task
}

/// Waits until this many texts wait for a worker.
async fn waiting_for_worker(engine: &Engine, count: usize) {
    let reached = async {
        while engine.workers.queue.len() < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, reached).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_rejects_at_once_while_the_others_get_their_predictions() {
    let (engine, gate) = gated(1);
    let first = submit(&engine, 1).await;
    gate.taken(1);
    let second = submit(&engine, 2).await;
    assert!(matches!(classify(&engine, 3).await, Err(EngineError::Overloaded)));

    gate.open(2);
    assert!(first.await.unwrap().is_ok());
    assert!(second.await.unwrap().is_ok());
    assert_eq!(engine.metrics.queue_depth.get(), 0);
}

#[tokio::test]
async fn a_caller_that_left_is_skipped() {
    let (engine, gate) = gated(8);
    let first = submit(&engine, 1).await;
    gate.taken(1);
    let left = submit(&engine, 2).await;
    let third = submit(&engine, 3).await;

    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    gate.open(2);
    gate.taken(3);
    assert!(first.await.unwrap().is_ok());
    assert!(third.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_background_text_waits_for_the_prompts_and_occupies_no_slot() {
    let (engine, gate) = gated(2);
    let first = submit(&engine, 1).await;
    gate.taken(1);
    let background = submit_background(&engine, 9).await;
    waiting_for_worker(&engine, 1).await;
    let prompts = [submit(&engine, 2).await, submit(&engine, 3).await];
    waiting_for_worker(&engine, 3).await;

    gate.open(1);
    gate.taken(2);
    gate.open(1);
    gate.taken(3);
    gate.open(1);
    gate.taken(9);
    gate.open(1);
    assert!(first.await.unwrap().is_ok());
    for prompt in prompts {
        assert!(prompt.await.unwrap().is_ok());
    }
    assert_eq!(background.await.unwrap().unwrap().embedding, Some(vec![1.0]));
}

#[tokio::test]
async fn under_load_a_background_text_gets_its_turn() {
    let (engine, gate) = gated(64);
    let background = submit_background(&engine, 99).await;
    gate.taken(99);
    let prompts: Vec<_> = (0..40).collect();
    let mut tasks = Vec::new();
    for prompt in &prompts {
        tasks.push(submit(&engine, *prompt).await);
    }
    tasks.push(submit_background(&engine, 99).await);
    waiting_for_worker(&engine, 41).await;
    gate.open(42);
    let order: Vec<_> = (0..41).map(|_| gate.taken.recv_timeout(TIMEOUT).unwrap().ids()[0]).collect();
    assert_eq!(order.iter().position(|id| *id == 99), Some(15), "{order:?}");
    for task in tasks.into_iter().chain([background]) {
        assert!(task.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn shutting_down_classifies_waiting_texts_and_rejects_new_ones() {
    let (engine, gate) = gated(8);
    let waiting = [submit(&engine, 1).await, submit(&engine, 2).await, submit_background(&engine, 3).await];
    let closing = Arc::clone(&engine);
    let closed = tokio::task::spawn_blocking(move || closing.shut_down());
    gate.open(waiting.len());

    timeout(TIMEOUT, closed).await.unwrap().unwrap();
    for task in waiting {
        assert!(task.await.unwrap().is_ok());
    }
    assert!(matches!(classify(&engine, 4).await, Err(EngineError::ShuttingDown)));
    let background = engine.classify_in_background(text(5), Outputs::Embedding).await;
    assert!(matches!(background, Err(EngineError::ShuttingDown)));
}

struct Panics;

impl Backend for Panics {
    fn classify(&self, _: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        panic!("as a broken backend would")
    }
}

#[tokio::test]
async fn a_worker_survives_a_panic_of_its_backend() {
    let engine = start(Numbers, vec![Panics], 1, Batching::Alone);
    for _ in 0..2 {
        assert!(matches!(classify(&engine, 1).await, Err(EngineError::Failed(_))));
    }
    assert!(engine.is_healthy());
}

/// Panics on the worker's thread before it takes texts.
struct PanicsInBuild;

impl BackendFactory for PanicsInBuild {
    type Backend = Panics;

    fn build(self) -> Panics {
        panic!("as a broken driver would")
    }
}

async fn wait_for_workers(engine: &Engine, alive: usize) {
    let reached = async {
        while engine.workers_alive() != alive {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, reached).await.unwrap();
}

#[tokio::test]
async fn when_the_only_worker_dies_nobody_waits_and_the_engine_is_unhealthy() {
    let engine = start(Numbers, vec![PanicsInBuild], 8, Batching::Alone);
    // Before or after the worker died.
    for id in 0..4 {
        assert!(matches!(classify(&engine, id).await, Err(EngineError::NoWorkers)));
    }
    wait_for_workers(&engine, 0).await;
    assert!(!engine.is_healthy());
    assert!(matches!(classify(&engine, 1).await, Err(EngineError::NoWorkers)));
    engine.shut_down();
}

/// Panics when a step ends, outside the backend.
struct PanicsInStep(Step);

impl StepObserver for PanicsInStep {
    fn finished(&self, step: Step, _: Instant, _: Instant) {
        assert_ne!(step, self.0, "as a broken observer would");
    }
}

#[tokio::test]
async fn a_worker_that_exits_is_counted_and_the_others_go_on() {
    let (backends, gates): (Vec<_>, Vec<_>) = [gated_backend(), gated_backend()].into_iter().unzip();
    gates.iter().for_each(|gate| gate.open(4));
    let engine = start(Numbers, backends, 8, Batching::Alone);
    assert_eq!(engine.workers_alive(), 2);
    for alive in [1, 0] {
        let steps: Arc<dyn StepObserver> = Arc::new(PanicsInStep(Step::Infer));
        let lost = engine.classify(text(1), Outputs::Scores, None, Some(steps));
        assert!(matches!(timeout(TIMEOUT, lost).await.unwrap(), Err(EngineError::NoWorkers)));
        wait_for_workers(&engine, alive).await;
        assert_eq!(engine.is_healthy(), alive > 0);
        assert_eq!(classify(&engine, 2).await.is_ok(), alive > 0);
    }
}

/// Returns only when as many calls are in progress as there are workers.
struct Together(Arc<Barrier>);

impl Backend for Together {
    fn classify(&self, _: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        self.0.wait();
        Ok(vec![Prediction::default()])
    }
}

#[tokio::test]
async fn workers_work_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(2));
    let backends = vec![Together(Arc::clone(&barrier)), Together(barrier)];
    let engine = start(Numbers, backends, 2, Batching::Alone);
    let (first, second) = tokio::join!(classify(&engine, 1), classify(&engine, 2));
    assert!(first.is_ok() && second.is_ok());
}

#[tokio::test]
async fn a_text_whose_deadline_passed_is_not_computed() {
    let (engine, gate) = gated(8);
    let first = submit(&engine, 1).await;
    gate.taken(1);
    let soon = Instant::now() + Duration::from_millis(50);
    let late = Arc::clone(&engine);
    let late = tokio::spawn(async move { late.classify(text(2), Outputs::Scores, Some(soon), None).await });
    waiting_for_worker(&engine, 1).await;
    let third = submit(&engine, 3).await;
    tokio::time::sleep_until(soon.into()).await;

    gate.open(2);
    assert!(matches!(late.await.unwrap(), Err(EngineError::DeadlineExceeded)));
    gate.taken(3);
    assert!(first.await.unwrap().is_ok());
    assert!(third.await.unwrap().is_ok());
}

/// Reports the thread and the text to the test, and waits for the test's permission to tokenize.
struct GatedTokenizer {
    taken: Mutex<Sender<(ThreadId, String)>>,
    gate: Mutex<Receiver<()>>,
}

impl Tokenize for GatedTokenizer {
    fn tokenize(&self, text: &Excerpt) -> Result<Tokens> {
        self.taken.lock().send((std::thread::current().id(), text.beginning().to_owned()))?;
        self.gate.lock().recv()?;
        Numbers.tokenize(text)
    }
}

#[tokio::test]
async fn tokenizing_runs_on_its_own_thread_and_skips_abandoned_texts() {
    let (taken, took) = channel();
    let (open, gate) = channel();
    let tokenizer = GatedTokenizer { taken: Mutex::new(taken), gate: Mutex::new(gate) };
    let (backend, worker) = gated_backend();
    worker.open(4);
    let engine = start(tokenizer, vec![backend], 4, Batching::Alone);
    let taken = || took.recv_timeout(TIMEOUT).unwrap();

    // This test's only thread goes on while the tokenizer works.
    let first = submit(&engine, 1).await;
    let (thread, text_taken) = taken();
    assert_eq!(text_taken, "1");
    assert_ne!(thread, std::thread::current().id());

    let left = submit(&engine, 2).await;
    let late = Arc::clone(&engine);
    let now = Some(Instant::now());
    let late = tokio::spawn(async move { late.classify(text(3), Outputs::Scores, now, None).await });
    tokio::task::yield_now().await;
    let last = submit(&engine, 4).await;
    // Texts that wait for the tokenizer occupy slots, too.
    assert!(matches!(classify(&engine, 5).await, Err(EngineError::Overloaded)));
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());

    (0..2).for_each(|_| open.send(()).unwrap());
    assert_eq!(taken().1, "4");
    assert!(first.await.unwrap().is_ok());
    assert!(matches!(late.await.unwrap(), Err(EngineError::DeadlineExceeded)));
    assert!(last.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_text_that_cannot_be_tokenized_fails_alone() {
    let (engine, gate) = gated(8);
    gate.open(1);
    let failing = engine.classify(Excerpt::from("no number".to_owned()), Outputs::Scores, None, None).await;
    assert!(matches!(failing, Err(EngineError::Failed(_))));
    assert!(classify(&engine, 1).await.is_ok());
    assert!(engine.is_healthy());
}

/// Predicts each text's first token as its embedding, and reports to the test which texts shared a batch.
struct Echo {
    batches: Sender<(usize, Outputs)>,
    gate: Mutex<Receiver<()>>,
}

impl Backend for Echo {
    fn classify(&self, texts: &[&Tokens], outputs: Outputs) -> Result<Vec<Prediction>> {
        self.batches.send((texts.len(), outputs))?;
        self.gate.lock().recv()?;
        let scores = || {
            vec![HeadOutput {
                head: "task".into(),
                labels: Arc::new([]),
                confidences: Vec::new(),
                score: None,
            }]
        };
        let embedding = |text: &Tokens| Some(vec![text.ids()[0] as f32]);
        Ok(texts
            .iter()
            .map(|text| Prediction { scores: scores(), embedding: embedding(text), ..Prediction::default() })
            .collect())
    }
}

#[tokio::test]
async fn texts_of_a_batch_each_get_their_own_prediction_and_only_the_outputs_they_requested() {
    let (sender, batches) = channel();
    let (open, gate) = channel();
    let backend = Echo { batches: sender, gate: Mutex::new(gate) };
    let engine = start(Numbers, vec![backend], 8, Batching::Tokens(64.try_into().unwrap()));
    let ask = |id, outputs| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.classify(text(id), outputs, None, None).await.unwrap() })
    };
    let batch = || batches.recv_timeout(TIMEOUT).unwrap();
    let first = ask(1, Outputs::Scores);
    tokio::task::yield_now().await;
    assert_eq!(batch(), (1, Outputs::Scores));

    let (scores, embedding) = (ask(2, Outputs::Scores), ask(3, Outputs::Embedding));
    waiting_for_worker(&engine, 2).await;
    (0..2).for_each(|_| open.send(()).unwrap());
    assert_eq!(batch(), (2, Outputs::ScoresAndEmbedding));
    assert_eq!(first.await.unwrap().embedding, None);
    let (scores, embedding) = (scores.await.unwrap(), embedding.await.unwrap());
    assert_eq!((scores.scores.len(), scores.embedding), (1, None));
    assert_eq!((embedding.scores.len(), embedding.embedding), (0, Some(vec![3.0])));
}
