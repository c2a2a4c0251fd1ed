//! The requests that a run would send, and an estimate of their cost.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::calls::{ChatModel, Outcome, Spent};
use super::grader::Grader;
use super::input::{Check, GradingRow, GradingRows};
use super::judge;
use super::money::Money;
use super::output::method;

/// The assumed length of a completion, in tokens.
const COMPLETION_TOKENS: u64 = 300;

/// The assumed length of a token, in bytes.
const BYTES_PER_TOKEN: u64 = 4;

/// The requests of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    methods: BTreeMap<&'static str, usize>,
    duplicates: usize,
    models: Vec<ModelPlan>,
    spent: Spent,
    has_prices: bool,
}

/// The requests to one model.
#[derive(Debug)]
struct ModelPlan {
    role: &'static str,
    name: String,
    requests: usize,
    /// The number of results that are in the journal.
    recorded: usize,
    /// The cost with completions of the assumed length.
    likely: Money,
    /// The cost with completions of the maximum length.
    longest: Money,
}

impl Plan {
    /// Computes what the rows need beyond what is in the journal. Models that have a result there count as working.
    pub(crate) fn compute(grader: &Grader, rows: &GradingRows) -> Self {
        let mut methods = BTreeMap::new();
        for row in &rows.rows {
            *methods.entry(method(&row.check)).or_default() += 1;
        }
        let mut models: Vec<_> = [("weak", &grader.weak), ("strong", &grader.strong)]
            .map(|(role, model)| completions(role, model, grader, &rows.rows))
            .into();
        models.extend(grader.judge.as_ref().map(|judge| verdicts(judge, grader, &rows.rows)));
        let has_prices = grader.has_prices();
        let spent = grader.requester.journal.spent();
        Self { methods, duplicates: rows.duplicates, models, spent, has_prices }
    }
}

impl ModelPlan {
    fn new(role: &'static str, model: &ChatModel) -> Self {
        let name = model.name.clone();
        Self { role, name, requests: 0, recorded: 0, likely: Money::ZERO, longest: Money::ZERO }
    }

    /// Adds a request with a prompt of this length, in bytes, which depends on the length of completions for a judge.
    fn add(&mut self, model: &ChatModel, likely: usize, longest: usize) {
        let tokens = |bytes: usize| (bytes as u64).div_ceil(BYTES_PER_TOKEN);
        self.requests += 1;
        self.likely = self.likely.plus(model.cost(tokens(likely), COMPLETION_TOKENS.min(model.max_tokens())));
        self.longest = self.longest.plus(model.cost(tokens(longest), model.max_tokens()));
    }
}

fn completions(role: &'static str, model: &ChatModel, grader: &Grader, rows: &[GradingRow]) -> ModelPlan {
    let mut plan = ModelPlan::new(role, model);
    for row in rows {
        match grader.recorded(model, row) {
            Some(outcome) => {
                plan.recorded += 1;
                if matches!(outcome, Outcome::Completion(..)) {
                    model.record_success();
                }
            }
            None => {
                let length = Value::from(row.messages.clone()).to_string().len();
                plan.add(model, length, length);
            }
        }
    }
    plan
}

fn verdicts(judge: &ChatModel, grader: &Grader, rows: &[GradingRow]) -> ModelPlan {
    let mut plan = ModelPlan::new("judge", judge);
    for row in rows.iter().filter(|row| matches!(row.check, Check::Judge)) {
        let texts = [&grader.weak, &grader.strong].map(|model| match grader.recorded(model, row) {
            Some(Outcome::Completion(completion, _)) => Some(completion.text),
            _ => None,
        });
        let length = |model: &ChatModel, text: &Option<String>, tokens: u64| match text {
            Some(text) => text.len(),
            None => (tokens.min(model.max_tokens()) * BYTES_PER_TOKEN) as usize,
        };
        let [weak, strong] = &texts;
        let both = |tokens| length(&grader.weak, weak, tokens) + length(&grader.strong, strong, tokens);
        let frame = Value::from(judge::messages(&row.messages, "", "")).to_string().len();
        let orders = match (weak, strong) {
            (Some(weak), Some(strong)) if weak.trim() == strong.trim() => continue,
            (Some(weak), Some(strong)) => [Some((weak, strong)), Some((strong, weak))],
            _ => [None, None],
        };
        for order in orders {
            let recorded = order.and_then(|(first, second)| {
                grader.requester.journal.outcome(&Grader::verdict_key(judge, row, first, second, 1))
            });
            match recorded {
                Some(outcome) => {
                    plan.recorded += 1;
                    if matches!(outcome, Outcome::Completion(..)) {
                        judge.record_success();
                    }
                }
                None => plan.add(judge, frame + both(COMPLETION_TOKENS), frame + both(u64::MAX)),
            }
        }
    }
    plan
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.methods.iter().map(|(name, count)| format!("{count} by {name}")).collect();
        let prompts: usize = self.methods.values().sum();
        write!(f, "{prompts} prompts: {}", methods.join(", "))?;
        match self.duplicates {
            0 => writeln!(f)?,
            duplicates => writeln!(f, "; {duplicates} repeated prompts are left out")?,
        }
        let width =
            self.models.iter().map(|model| model.name.chars().count()).max().unwrap_or_default().max(5);
        let cost = |money: Money| if self.has_prices { money.to_string() } else { "-".to_owned() };
        let mut row = |role: &str, name: &str, columns: [String; 4]| {
            let [requests, recorded, likely, longest] = columns;
            writeln!(f, "{role:<8}{name:<width$}{requests:>10}{recorded:>10}{likely:>12}{longest:>12}")
        };
        row("", "model", ["requests", "paid for", "cost about", "or up to"].map(str::to_owned))?;
        for model in &self.models {
            let ModelPlan { role, name, requests, recorded, likely, longest } = model;
            row(role, name, [requests.to_string(), recorded.to_string(), cost(*likely), cost(*longest)])?;
        }
        let requests: usize = self.models.iter().map(|model| model.requests).sum();
        let sum = |amount: fn(&ModelPlan) -> Money| cost(self.models.iter().map(amount).sum());
        let (likely, longest) = (sum(|model| model.likely), sum(|model| model.longest));
        row("all", "", [requests.to_string(), String::new(), likely, longest])?;
        writeln!(
            f,
            "assumed: {BYTES_PER_TOKEN} bytes a token, completions of {COMPLETION_TOKENS} tokens, or up to the maximum; nothing is repeated"
        )?;
        match self.spent.requests {
            0 => Ok(()),
            requests => writeln!(f, "earlier runs sent {requests} requests for {}", cost(self.spent.cost)),
        }
    }
}
