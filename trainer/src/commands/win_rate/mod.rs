//! `win-rate`: fits a head that chooses between two models, from grades of both models' completions, if it
//! beats prompt length.

mod options;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use llm_router_routing::config::Config;
use llm_router_routing::documents;

use options::PolicyArgs;
pub use options::WinRateArgs;

use super::arguments::command_line;
use crate::train::{
    CrossFittedHead, Data, HeadKind, HeadPlan, HeadTask, Job, Plan, Source, TrainingRow, TrainingTarget,
};
use crate::win_rate::{
    CostUnit, CurrentPolicy, GradedFields, GradedPrompts, Names, Pair, Report, ReportFiles, ScoredPrompts,
    Subject, UnreadableUsage, assign_folds, find_policy, gate, prompt_length,
};
use llm_router_classifier::batch::BatchClassifier;
use llm_router_classifier::device::{Compute, Precision};
use llm_router_classifier::load::cores;
use llm_router_classifier::model::text_features::{ScaledFeature, TextFeature, TextFeatures};

/// The minimum number of groups of prompts in a fold.
const MIN_GROUPS: usize = 4;
/// The number of prompts that a policy decides concurrently.
const AHEAD: usize = 64;

/// Fits, reports and, if the head is good enough, writes it.
///
/// # Errors
/// If the rows, the policy or the model cannot be used, a file cannot be written, or the head is rejected.
pub async fn run(args: &WinRateArgs) -> Result<()> {
    let started = Instant::now();
    let config = args.policy.read()?;
    let prompts = args.read_prompts()?;
    let pair = args.pair(config.as_ref(), prompts.models.as_ref())?;
    let head = args.head_name(&pair)?;
    let command = command_line()?;
    let job = Job {
        model: args.engine.model(),
        out: args.out.as_deref().unwrap_or(args.engine.model()),
        // A single pass over the data is fast enough in 32 bits.
        compute: Compute { precision: Precision::Fp32, ..args.engine.compute()? },
        threads: cores().get(),
        seed: args.fit.seed,
        command: &command,
        started,
    };
    let folds = args.folds(&prompts)?;
    let task = args.task(&head, &prompts)?;
    let policy = config.as_ref().map(|config| args.policy.name(config));
    let current = match config {
        Some(config) => Some(args.current(config, &pair, &prompts).await?),
        None => None,
    };
    let fitted = CrossFittedHead::fit(&task, &folds, &job)?;
    let subject = Subject {
        head,
        sources: prompts.sources.iter().map(|path| path.display().to_string()).collect(),
        rows: prompts.rows,
        ungraded: prompts.ungraded,
        cost_unit: if pair.prices.is_some() { CostUnit::Dollars } else { CostUnit::StrongCalls },
        policy,
        models: pair.names.clone(),
    };
    let graded = prompts.prompts.iter().zip(fitted.scores()).zip(fitted.tokens());
    let scored = ScoredPrompts {
        rows: graded.map(|((prompt, score), tokens)| pair.graded_row(prompt, *score, *tokens)).collect(),
        lengths: prompts.prompts.iter().map(prompt_length).collect(),
        groups: prompts.prompts.iter().map(|prompt| prompt.group).collect(),
        folds,
        current,
    };
    let report =
        Report::compute(subject, &scored, args.quality, args.fit.seed).context("there are no prompts")?;
    args.conclude(&report, fitted, &job)
}

impl WinRateArgs {
    /// Prints the report, and writes it and the head, or rejects the head.
    fn conclude(&self, report: &Report, fitted: CrossFittedHead, job: &Job) -> Result<()> {
        let verdict = gate::check(report);
        let files = ReportFiles::new(report, verdict.as_ref().err())?;
        let mut out = std::io::stdout().lock();
        write!(out, "{}", files.markdown())?;
        if let Some(folder) = &self.report {
            files.write(folder)?;
        }
        if self.report_only {
            return Ok(());
        }
        if let Err(rejection) = verdict {
            bail!("no head is written: {rejection}");
        }
        let lines = report.policy_lines(self.quality).context("there is no threshold")?;
        let target = report.target(self.quality).context("there is no threshold")?;
        let section = format!("{}\n{}", report.markdown(), policy_section(&lines, self.quality));
        let folder = fitted.write(job, &report.note(), &section)?;
        files.write(&folder)?;
        writeln!(out, "\n{}", policy_section(&lines, self.quality))?;
        if target.recovered <= 0.0 {
            writeln!(
                out,
                "The weak model alone keeps {:.0} % of the quality: choose a higher --quality, or use it alone.",
                100.0 * self.quality
            )?;
        }
        let seconds = job.started.elapsed().as_secs();
        tracing::info!(folder = %folder.display(), seconds, "written");
        Ok(())
    }

    fn read_prompts(&self) -> Result<GradedPrompts> {
        let fields = GradedFields { text: self.text_field.clone(), group: self.group_field.clone() };
        let prompts = GradedPrompts::read(&self.data, &fields)?;
        if prompts.ungraded > 0 {
            tracing::warn!(rows = prompts.ungraded, "rows without grades are skipped");
        }
        let UnreadableUsage { count, first } = &prompts.unreadable_usage;
        if *count > 0 {
            tracing::warn!(
                fields = count,
                first,
                "usage that cannot be read: it needs \"prompt_tokens\" and \"completion_tokens\"; costs assume \
                 --completion-tokens instead"
            );
        }
        if !self.report_only
            && let Err(rejection) = gate::check_differences(prompts.different(), prompts.prompts.len())
        {
            bail!("no head is fitted: {rejection}");
        }
        Ok(prompts)
    }

    /// The models, from the options, the rows or the policy. `graded` are those that the rows name.
    fn pair(&self, config: Option<&Config>, graded: Option<&Names>) -> Result<Pair> {
        let named = self.weak_name.clone().zip(self.strong_name.clone());
        let named = named.map(|(weak, strong)| Names { weak, strong });
        if let Some(Names { weak, strong }) = &named {
            ensure!(weak != strong, "--weak-name and --strong-name are the same model, {weak}");
        }
        let Some(config) = config else { return Ok(Pair::of_names(named.or(graded.cloned()))) };
        let policy = find_policy(config, self.policy.policy_name.as_deref())?;
        let has =
            |names: &&Names| [&names.weak, &names.strong].iter().all(|name| config.model(name).is_some());
        let names = named.or_else(|| graded.filter(has).cloned());
        let pair = Pair::from_policy(config, policy, names, self.policy.completion_tokens)?;
        if let (Some(graded), Some(names)) = (graded, &pair.names)
            && graded != names
        {
            tracing::warn!(
                "the rows have grades of {graded}, which are assumed to be the policy's models {names}"
            );
        }
        Ok(pair)
    }

    fn head_name(&self, pair: &Pair) -> Result<String> {
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        let names = pair.names.as_ref().context(
            "the head needs a name: --head NAME, or the models' names, --weak-name and --strong-name, which it is then \
             made of",
        )?;
        names.head().with_context(|| {
            format!(
                "no name for the head can be made of {names}: each needs a letter of a-z or a digit. Use --head NAME"
            )
        })
    }

    /// The fold of each prompt.
    fn folds(&self, prompts: &GradedPrompts) -> Result<Vec<usize>> {
        let folds = usize::from(self.fit.folds);
        let (groups, scores): (Vec<_>, Vec<_>) =
            prompts.prompts.iter().map(|prompt| (prompt.group, prompt.score())).unzip();
        let count = groups.iter().max().map_or(0, |last| last + 1);
        ensure!(
            count >= MIN_GROUPS * folds,
            "{count} independent prompts or groups of prompts are too few for {folds} folds: at least {} are needed",
            MIN_GROUPS * folds
        );
        Ok(assign_folds(&groups, &scores, folds, self.fit.seed))
    }

    fn task(&self, head: &str, prompts: &GradedPrompts) -> Result<HeadTask> {
        let rows = prompts.prompts.iter().map(|prompt| TrainingRow {
            text: prompt.text.clone(),
            context: prompt.context.clone(),
            target: TrainingTarget::Numbers(vec![Some(prompt.score() as f32)]),
            source: prompt.source,
        });
        let data = Data {
            sources: prompts.sources.clone(),
            weights: vec![1.0; prompts.sources.len()],
            rows: rows.collect(),
        };
        let plan = HeadPlan {
            kind: HeadKind::Score,
            layer: self.fit.layer,
            features: self.fit.features.clone().unwrap_or_else(|| default_features(prompts)),
            ..HeadPlan::new(head, prompts.sources.iter().cloned().map(Source::from).collect())
        };
        let plan = Plan { heads: vec![plan] };
        plan.check()?;
        let plan = plan.heads.into_iter().next().context("there is no head")?;
        HeadTask::cross_fitted(plan, data)
    }

    /// Whether the policy in use sends each prompt to the strong model; none for prompts that it sends elsewhere.
    async fn current(
        &self,
        config: Config,
        pair: &Pair,
        prompts: &GradedPrompts,
    ) -> Result<Vec<Option<bool>>> {
        let classifier = BatchClassifier::load(&self.engine).await?;
        let policy = CurrentPolicy::new(config, self.policy.policy_name.as_deref());
        let ahead = self.engine.queue().clamp(1, AHEAD);
        let decided = policy.decide_all(classifier.pipeline(), &prompts.prompts, ahead).await;
        let decided = decided.with_context(|| self.policy.context())?;
        Ok(decided.into_iter().map(|model| pair.is_strong(model.as_deref()?)).collect())
    }
}

impl PolicyArgs {
    fn read(&self) -> Result<Option<Config>> {
        let Some(path) = &self.policy else { return Ok(None) };
        let read = |path: &Path| anyhow::Ok(documents::parse_one(&std::fs::read_to_string(path)?)?);
        read(path).map(Some).with_context(|| self.context())
    }

    fn context(&self) -> String {
        format!("--policy {}", self.policy.as_deref().unwrap_or(Path::new("")).display())
    }

    /// The name of the policy.
    fn name(&self, config: &Config) -> String {
        self.policy_name.clone().unwrap_or_else(|| config.default_policy.name.to_string())
    }
}

/// The default text features, without those that are the same for all prompts, because these cannot help.
fn default_features(prompts: &GradedPrompts) -> Vec<TextFeature> {
    let texts = prompts.prompts.iter().map(|prompt| prompt.text.as_str());
    let counted: Vec<_> = texts.map(|text| TextFeatures::count(&[text], text.len())).collect();
    let usual = [TextFeature::LogLength, TextFeature::Numbers];
    usual.into_iter().filter(|feature| ScaledFeature::fit(*feature, &counted).is_some()).collect()
}

/// The section with the lines for a policy.
fn policy_section(lines: &str, quality: f64) -> String {
    format!("In a policy, to keep {:.0} % of the quality:\n\n```yaml\n{lines}```\n", 100.0 * quality)
}
