use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;

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
    fn classify(&self, texts: &[&Tokens]) -> Result<Vec<Answer>> {
        for &text in texts {
            self.taken.send(text.clone())?;
            self.gate.lock().recv()?;
        }
        Ok(vec![Answer::default(); texts.len()])
    }
}

fn text(id: i64) -> Tokens {
    Tokens::from(vec![id])
}

fn engine(capacity: usize) -> (Arc<Engine>, Gate) {
    let (taken, took) = channel();
    let (open, gate) = channel();
    let backend = Gated { taken, gate: Mutex::new(gate) };
    let engine = Engine::start(vec![backend], capacity, Arc::new(Metrics::new())).unwrap();
    (Arc::new(engine), Gate { taken: took, open })
}

/// Submits a text from a task of its own, and returns once it is in the queue.
async fn submit(engine: &Arc<Engine>, id: i64) -> tokio::task::JoinHandle<Scored> {
    let submitting = engine.clone();
    let task = tokio::spawn(async move { submitting.classify(text(id)).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_while_the_others_are_answered() {
    let (engine, gate) = engine(1);
    let first = submit(&engine, 1).await;
    assert_eq!(gate.taken.recv().unwrap(), text(1));
    let second = submit(&engine, 2).await;

    assert!(matches!(engine.classify(text(3)).await, Err(EngineError::Overloaded)));

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
    assert!(matches!(engine.classify(text(4)).await, Err(EngineError::ShuttingDown)));
}

struct Panics;

impl Backend for Panics {
    fn classify(&self, _: &[&Tokens]) -> Result<Vec<Answer>> {
        panic!("as a broken backend would")
    }
}

#[tokio::test]
async fn a_worker_outlives_its_backends_panic() {
    let engine = Engine::start(vec![Panics], 1, Arc::new(Metrics::new())).unwrap();
    for _ in 0..2 {
        assert!(matches!(engine.classify(text(1)).await, Err(EngineError::Failed(_))));
    }
}

/// Returns only when as many calls are in progress as there are workers.
struct Together(Arc<Barrier>);

impl Backend for Together {
    fn classify(&self, _: &[&Tokens]) -> Result<Vec<Answer>> {
        self.0.wait();
        Ok(vec![Answer::default()])
    }
}

#[tokio::test]
async fn workers_work_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(2));
    let backends = vec![Together(barrier.clone()), Together(barrier)];
    let engine = Engine::start(backends, 2, Arc::new(Metrics::new())).unwrap();
    let both = async { tokio::join!(engine.classify(text(1)), engine.classify(text(2))) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert!(first.is_ok() && second.is_ok());
}
