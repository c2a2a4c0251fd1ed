//! Grades one row.

use futures_util::future::join;
use serde_json::Value;

use super::calls::{CallError, ChatModel, Outcome, Paid, Requester, TestResult};
use super::code::{PythonRunner, python_block};
use super::input::{Check, GradingRow};
use super::judge::{self, Preference, Verdict};
use super::key::Key;
use super::money::Money;
use super::result::{Evidence, GradedPrompt, Opinion, RowResult, UngradedPrompt};
use super::stop::StopReason;

/// The maximum number of requests to a judge until its verdict can be parsed.
const VERDICT_ATTEMPTS: u32 = 2;

/// The longest reason why tests failed, in characters.
const MAX_DETAIL: usize = 300;

/// Everything that grading needs.
#[derive(Debug)]
pub(crate) struct Grader {
    /// The weak model.
    pub(crate) weak: ChatModel,
    /// The strong model.
    pub(crate) strong: ChatModel,
    /// The model that compares completions.
    pub(crate) judge: Option<ChatModel>,
    /// Runs code.
    pub(crate) code: Option<PythonRunner>,
    /// Gets completions.
    pub(crate) requester: Requester,
}

/// Grades, with their evidence and its cost.
struct Decision {
    grades: (f64, f64),
    evidence: Evidence,
    cost: Money,
}

/// Why there is no decision, and what the attempt cost.
struct NoDecision {
    error: CallError,
    cost: Money,
}

impl From<CallError> for NoDecision {
    fn from(error: CallError) -> Self {
        Self { error, cost: Money::ZERO }
    }
}

impl Grader {
    /// The models that are called.
    pub(crate) fn models(&self) -> impl Iterator<Item = &ChatModel> {
        [&self.weak, &self.strong].into_iter().chain(&self.judge)
    }

    /// Whether the prices of all models are known, and so the cost.
    pub(crate) fn has_prices(&self) -> bool {
        self.models().all(|model| model.price.is_some())
    }

    /// Why tests failed, shortened and without the keys, which the code of a completion may have found
    /// somewhere.
    fn shown_detail(&self, detail: String) -> String {
        let keys = self.models().filter_map(|model| model.provider.key.as_ref());
        keys.fold(detail, |detail, key| key.redact(&detail)).chars().take(MAX_DETAIL).collect()
    }

    /// Grades a row. What is in the journal is not paid for again.
    pub(crate) async fn grade(&self, row: &GradingRow) -> RowResult {
        let (weak, strong) = join(self.completion(&self.weak, row), self.completion(&self.strong, row)).await;
        let (weak, strong) = match (weak, strong) {
            (Ok(weak), Ok(strong)) => (weak, strong),
            (weak, strong) => return self.without_completion(weak, strong),
        };
        let cost = weak.cost.plus(strong.cost);
        match self.decide(row, &weak, &strong).await {
            Ok(decision) => {
                let Decision { grades, evidence, cost: more } = decision;
                RowResult::Graded(Box::new(GradedPrompt {
                    weak,
                    strong,
                    grades,
                    evidence,
                    cost: cost.plus(more),
                }))
            }
            Err(NoDecision { error: CallError::Stopped, .. }) => RowResult::Unfinished,
            Err(NoDecision { error: CallError::Prompt(reason), cost: more }) => {
                let (weak, strong, cost) = (Some(weak), Some(strong), cost.plus(more));
                RowResult::Ungraded(Box::new(UngradedPrompt { weak, strong, reason, cost }))
            }
        }
    }

    /// The key of a model's completion of a row.
    pub(crate) fn completion_key(model: &ChatModel, row: &GradingRow) -> Key {
        model.key("completion", &Value::from(row.messages.clone()))
    }

    /// The key of a judge's verdict.
    pub(crate) fn verdict_key(
        judge: &ChatModel,
        row: &GradingRow,
        first: &str,
        second: &str,
        attempt: u32,
    ) -> Key {
        judge.key("verdict", &judge::values(&row.messages, first, second, attempt))
    }

    /// The recorded completion of a row, if there is one.
    pub(crate) fn recorded(&self, model: &ChatModel, row: &GradingRow) -> Option<Outcome> {
        self.requester.journal.outcome(&Self::completion_key(model, row))
    }

    async fn completion(&self, model: &ChatModel, row: &GradingRow) -> Result<Paid, CallError> {
        self.requester.complete(model, Self::completion_key(model, row), &row.messages).await
    }

    fn without_completion(
        &self,
        weak: Result<Paid, CallError>,
        strong: Result<Paid, CallError>,
    ) -> RowResult {
        let reason = [(&self.weak, &weak), (&self.strong, &strong)].into_iter().find_map(
            |(model, result)| match result {
                Err(CallError::Prompt(reason)) => Some(format!("{}: {reason}", model.name)),
                _ => None,
            },
        );
        if [&weak, &strong].into_iter().any(|result| matches!(result, Err(CallError::Stopped))) {
            return RowResult::Unfinished;
        }
        let (weak, strong) = (weak.ok(), strong.ok());
        let cost = [&weak, &strong].into_iter().flatten().map(|paid| paid.cost).sum();
        let reason = reason.unwrap_or_default();
        RowResult::Ungraded(Box::new(UngradedPrompt { weak, strong, reason, cost }))
    }

    async fn decide(&self, row: &GradingRow, weak: &Paid, strong: &Paid) -> Result<Decision, NoDecision> {
        for (model, paid) in [(&self.weak, weak), (&self.strong, strong)] {
            if paid.completion.is_filtered() {
                let reason = format!("{}: the provider's content filter withheld the completion", model.name);
                return Err(CallError::Prompt(reason).into());
            }
        }
        let (weak, strong) = (weak.completion.text.as_str(), strong.completion.text.as_str());
        let by_row = |accepts: &dyn Fn(&str) -> bool| {
            let grade = |completion| f64::from(u8::from(accepts(completion)));
            Decision { grades: (grade(weak), grade(strong)), evidence: Evidence::Row, cost: Money::ZERO }
        };
        match &row.check {
            Check::Answers(answers) => Ok(by_row(&|completion| answers.accept(completion))),
            Check::Pattern(pattern) => Ok(by_row(&|completion| pattern.is_match(completion))),
            Check::Tests(tests) => {
                let (weak, strong) = join(self.test(weak, tests), self.test(strong, tests)).await;
                let (weak, strong) = (weak?, strong?);
                let grade = |result: &TestResult| f64::from(u8::from(result.passed));
                let grades = (grade(&weak), grade(&strong));
                Ok(Decision {
                    grades,
                    evidence: Evidence::Tests(Box::new([weak, strong])),
                    cost: Money::ZERO,
                })
            }
            Check::Judge => self.compare(row, weak, strong).await,
        }
    }

    /// Runs the code of a completion with the tests of its row.
    async fn test(&self, completion: &str, tests: &str) -> Result<TestResult, CallError> {
        let Some(runner) = &self.code else {
            return Err(CallError::Prompt("code is not run without --run-code".to_owned()));
        };
        let Some(code) = python_block(completion) else {
            return Ok(TestResult { passed: false, detail: "no fenced block of Python".to_owned() });
        };
        let key = runner.key(&code, tests);
        if let Some(result) = self.requester.journal.tests(&key) {
            return Ok(result);
        }
        let stop = &self.requester.stop;
        let result = stop.in_flight(runner.test(&code, tests)).await.ok_or(CallError::Stopped)?;
        let recorded = result.and_then(|TestResult { passed, detail }| {
            let result = TestResult { passed, detail: self.shown_detail(detail) };
            self.requester.journal.record_tests(key, result.clone())?;
            Ok(result)
        });
        recorded.map_err(|error| {
            stop.request(StopReason::Failed(format!("{error:#}")));
            CallError::Stopped
        })
    }

    /// Lets the judge compare both completions in both orders.
    async fn compare(&self, row: &GradingRow, weak: &str, strong: &str) -> Result<Decision, NoDecision> {
        if weak.trim() == strong.trim() {
            let grades = Verdict::Tie.grades();
            return Ok(Decision { grades, evidence: Evidence::SameText, cost: Money::ZERO });
        }
        let Some(judge) = &self.judge else {
            return Err(CallError::Prompt("there is no judge".to_owned()).into());
        };
        let (weak_first, strong_first) =
            join(self.opinion(judge, row, weak, strong), self.opinion(judge, row, strong, weak)).await;
        let ((weak_first, cost), (strong_first, more)) = (weak_first?, strong_first?);
        let cost = cost.plus(more);
        let (Some(weak_first), Some(strong_first)) = (weak_first, strong_first) else {
            let why = format!(
                "the last line of judge {} was not a verdict in {VERDICT_ATTEMPTS} attempts; check whether it needs more \
                 --judge-max-tokens",
                judge.name
            );
            return Err(NoDecision { error: CallError::Prompt(why), cost });
        };
        let verdict = Verdict::combine(weak_first.preference, strong_first.preference);
        let evidence = Evidence::Judge { verdict, weak_first, strong_first };
        Ok(Decision { grades: verdict.grades(), evidence, cost })
    }

    /// The judge's opinion on one order of the completions, and its cost. None if the judge gives no verdict.
    async fn opinion(
        &self,
        judge: &ChatModel,
        row: &GradingRow,
        first: &str,
        second: &str,
    ) -> Result<(Option<Opinion>, Money), NoDecision> {
        let mut cost = Money::ZERO;
        for attempt in 1..=VERDICT_ATTEMPTS {
            let key = Self::verdict_key(judge, row, first, second, attempt);
            let messages = judge::messages(&row.messages, first, second);
            let paid = self.requester.complete(judge, key, &messages).await.map_err(|error| match error {
                CallError::Prompt(reason) => CallError::Prompt(format!("judge {}: {reason}", judge.name)),
                CallError::Stopped => CallError::Stopped,
            })?;
            cost = cost.plus(paid.cost);
            let text = paid.completion.text;
            if let Some(preference) = Preference::parse(&text) {
                return Ok((Some(Opinion { preference, text }), cost));
            }
        }
        Ok((None, cost))
    }
}
