//! Requests and their targets. In each run of a [`Setup`], the same number has the same request.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;

use super::chats::{Chat, Chats};
use super::endpoint::Endpoint;
use super::sample::Side;

/// Which requests ask for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Streaming {
    /// No request.
    Never,
    /// Every request.
    Always,
    /// Each request with a probability of one half.
    Half,
}

/// An API under load.
#[derive(Debug)]
pub struct Target {
    /// Whether it is the gateway or the LLM itself.
    pub side: Side,
    /// The API.
    pub endpoint: Endpoint,
    /// The model of its requests, instead of that of the chats.
    pub model: Option<String>,
}

/// Everything that the requests of a run have in common.
#[derive(Debug)]
pub struct Setup {
    /// The gateway.
    pub gateway: Arc<Target>,
    /// The LLM that is measured beside it.
    pub direct: Option<Arc<Target>>,
    /// The chats.
    pub chats: Chats,
    /// Whether each chat gets a text that no other has.
    pub is_unique: bool,
    /// Which requests ask for a stream; if none, those whose body does.
    pub streaming: Option<Streaming>,
    /// How long a request may take.
    pub deadline: Duration,
    /// How many requests may be without a response at a time, of each target.
    pub in_flight: usize,
    /// The seed of random choices. It differs between processes, because a gateway may have cached the texts
    /// of the previous one.
    pub seed: u64,
}

/// A request, sent to each target.
#[derive(Debug)]
pub struct Pair {
    /// Its number.
    pub number: u64,
    /// Its chat.
    pub chat: Chat,
    /// Whether it asks for a stream.
    pub is_streamed: bool,
    /// The targets in random order, so that neither has an advantage from being the second.
    pub order: Vec<Arc<Target>>,
}

impl Setup {
    /// The number of targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        1 + usize::from(self.direct.is_some())
    }

    /// The pair of this number.
    #[must_use]
    pub fn pair(&self, number: u64) -> Pair {
        let chat = self.chats.chat(number);
        let mut random = Rng::with_seed(self.seed.wrapping_add(number));
        let is_streamed = match self.streaming {
            Some(Streaming::Never) => false,
            Some(Streaming::Always) => true,
            Some(Streaming::Half) => random.bool(),
            None => chat.wants_stream(),
        };
        let mut order: Vec<_> = [Arc::clone(&self.gateway)].into_iter().chain(self.direct.clone()).collect();
        if random.bool() {
            order.reverse();
        }
        let chat = if self.is_unique { chat.made_unique(&mut random) } else { chat.clone() };
        Pair { number, chat, is_streamed, order }
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::Protocol;
    use super::*;

    fn setup(streaming: Option<Streaming>) -> Setup {
        let target = |side| {
            let endpoint = Endpoint::new("http://127.0.0.1:1/v1", None, &[], Protocol::Http1).unwrap();
            Arc::new(Target { side, endpoint, model: None })
        };
        Setup {
            gateway: target(Side::Gateway),
            direct: Some(target(Side::Direct)),
            chats: Chats::mixed(),
            is_unique: true,
            streaming,
            deadline: Duration::from_secs(1),
            in_flight: 1,
            seed: 7,
        }
    }

    #[test]
    fn half_of_the_pairs_are_streamed_and_half_begin_with_the_gateway() {
        let setup = setup(Some(Streaming::Half));
        let pairs: Vec<_> = (0..1000).map(|number| setup.pair(number)).collect();
        let count = |holds: &dyn Fn(&Pair) -> bool| pairs.iter().filter(|pair| holds(pair)).count();
        let begins_with_gateway = |pair: &Pair| pair.order[0].side == Side::Gateway;
        assert!((450..550).contains(&count(&|pair| pair.is_streamed)));
        assert!((450..550).contains(&count(&begins_with_gateway)));
        // Independent of each other, and of the chat.
        assert!((200..300).contains(&count(&|pair| pair.is_streamed && begins_with_gateway(pair))));
        let shortest = |pair: &Pair| pair.number.is_multiple_of(12);
        assert!((20..65).contains(&count(&|pair| pair.is_streamed && shortest(pair))));
    }

    #[test]
    fn a_number_has_the_same_request_each_time_and_no_other_number_has_it() {
        let setup = setup(None);
        let chat = |number| setup.pair(number).chat;
        assert_eq!(chat(5), chat(5));
        assert_ne!(chat(5), chat(17));
        assert!(!setup.pair(5).is_streamed);
    }
}
