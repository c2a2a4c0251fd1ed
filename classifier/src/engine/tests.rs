use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::model::prediction::HeadOutput;

/// Classifies when the test lets it, and tells the test what it took.
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
        Ok(vec![Prediction::default(); texts.len()])
    }
}

fn text(id: i64) -> Tokens {
    Tokens::from(vec![id])
}

fn engine(capacity: usize) -> (Arc<Engine>, Gate) {
    let (taken, took) = channel();
    let (open, gate) = channel();
    let backend = Gated { taken, gate: Mutex::new(gate) };
    let engine =
        Engine::start(vec![backend], capacity, Batching::Alone, Arc::new(Metrics::default())).unwrap();
    (Arc::new(engine), Gate { taken: took, open })
}

/// Submits a text from a task of its own, and returns once it is in the queue.
async fn submit(engine: &Arc<Engine>, id: i64) -> tokio::task::JoinHandle<Scored> {
    let submitting = engine.clone();
    let task = tokio::spawn(async move { submitting.classify(text(id), Outputs::Scores, None, None).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_while_the_others_are_answered() {
    let (engine, gate) = engine(1);
    let first = submit(&engine, 1).await;
    assert_eq!(gate.taken.recv().unwrap(), text(1));
    let second = submit(&engine, 2).await;

    assert!(matches!(
        engine.classify(text(3), Outputs::Scores, None, None).await,
        Err(EngineError::Overloaded)
    ));

    gate.open.send(()).unwrap();
    gate.open.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_caller_that_left_is_skipped() {
    let (engine, gate) = engine(8);
    let first = submit(&engine, 1).await;
    assert_eq!(gate.taken.recv().unwrap(), text(1));
    let left = submit(&engine, 2).await;
    let third = submit(&engine, 3).await;

    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    gate.open.send(()).unwrap();
    gate.open.send(()).unwrap();

    assert_eq!(gate.taken.recv().unwrap(), text(3));
    assert!(first.await.unwrap().is_ok());
    assert!(third.await.unwrap().is_ok());
}

#[tokio::test]
async fn shutting_down_answers_what_waits_and_refuses_what_comes() {
    let (engine, gate) = engine(8);
    let waiting = [submit(&engine, 1).await, submit(&engine, 2).await, submit(&engine, 3).await];
    let closing = engine.clone();
    let closed = tokio::task::spawn_blocking(move || closing.shut_down());
    for _ in &waiting {
        gate.open.send(()).unwrap();
    }

    closed.await.unwrap();
    for task in waiting {
        assert!(task.await.unwrap().is_ok());
    }
    assert!(matches!(
        engine.classify(text(4), Outputs::Scores, None, None).await,
        Err(EngineError::ShuttingDown)
    ));
}

struct Panics;

impl Backend for Panics {
    fn classify(&self, _: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        panic!("as a broken backend would")
    }
}

#[tokio::test]
async fn a_worker_outlives_its_backends_panic() {
    let engine = Engine::start(vec![Panics], 1, Batching::Alone, Arc::new(Metrics::default())).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            engine.classify(text(1), Outputs::Scores, None, None).await,
            Err(EngineError::Failed(_))
        ));
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
    let backends = vec![Together(barrier.clone()), Together(barrier)];
    let engine = Engine::start(backends, 2, Batching::Alone, Arc::new(Metrics::default())).unwrap();
    let both = async {
        tokio::join!(
            engine.classify(text(1), Outputs::Scores, None, None),
            engine.classify(text(2), Outputs::Scores, None, None)
        )
    };
    let (first, second) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert!(first.is_ok() && second.is_ok());
}

#[tokio::test]
async fn a_text_whose_deadline_passed_is_not_computed() {
    let (engine, gate) = engine(8);
    let first = submit(&engine, 1).await;
    assert_eq!(gate.taken.recv().unwrap(), text(1));
    let now = Some(Instant::now());
    let late = engine.clone();
    let late = tokio::spawn(async move { late.classify(text(2), Outputs::Scores, now, None).await });
    tokio::task::yield_now().await;
    let third = submit(&engine, 3).await;

    gate.open.send(()).unwrap();
    gate.open.send(()).unwrap();
    assert!(matches!(late.await.unwrap(), Err(EngineError::DeadlineExceeded)));
    assert_eq!(gate.taken.recv().unwrap(), text(3));
    assert!(first.await.unwrap().is_ok());
    assert!(third.await.unwrap().is_ok());
}

/// Answers each text with its first token as embedding, and tells the test what it had together.
struct Echo {
    batches: Sender<(usize, Outputs)>,
    gate: Mutex<Receiver<()>>,
}

impl Backend for Echo {
    fn classify(&self, texts: &[&Tokens], want: Outputs) -> Result<Vec<Prediction>> {
        self.batches.send((texts.len(), want))?;
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
async fn texts_of_a_batch_each_get_their_own_answer_and_only_what_they_wanted() {
    let (sender, batches) = channel();
    let (open, gate) = channel();
    let backend = Echo { batches: sender, gate: Mutex::new(gate) };
    let batching = Batching::Tokens(64.try_into().unwrap());
    let engine = Arc::new(Engine::start(vec![backend], 8, batching, Arc::new(Metrics::default())).unwrap());
    let ask = |id, want| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.classify(text(id), want, None, None).await.unwrap() })
    };
    let first = ask(1, Outputs::Scores);
    tokio::task::yield_now().await;
    assert_eq!(batches.recv().unwrap(), (1, Outputs::Scores));

    let (scores, embedding) = (ask(2, Outputs::Scores), ask(3, Outputs::Embedding));
    tokio::task::yield_now().await;
    for _ in 0..2 {
        open.send(()).unwrap();
    }
    assert_eq!(batches.recv().unwrap(), (2, Outputs::ScoresAndEmbedding));
    assert_eq!(first.await.unwrap().embedding, None);
    let (scores, embedding) = (scores.await.unwrap(), embedding.await.unwrap());
    assert_eq!((scores.scores.len(), scores.embedding), (1, None));
    assert_eq!((embedding.scores.len(), embedding.embedding), (0, Some(vec![3.0])));
}
