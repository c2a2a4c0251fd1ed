//! One head's data, read and divided.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use tch::Tensor;

use super::data::{Data, Row, Target};
use super::plan::{HeadPlan, Kind, Plan};
use super::split::Split;
use super::weighting::{self, ClassWeights};
use llm_router_classifier::model::heads::{self, Output};

/// A head's plan with its data.
#[derive(Debug)]
pub struct HeadTask {
    pub(super) plan: HeadPlan,
    pub(super) data: Data,
    pub(super) validation: Data,
    /// Labels, or a score's dimensions, in the order of the head's outputs.
    pub(super) labels: Vec<String>,
    pub(super) split: Split,
}

/// Reads the data of all heads. No text that is in any validation is trained on.
///
/// # Errors
/// If a file is missing or wrong, or there is too little in it; the error names the head.
pub fn load(plan: &Plan, seed: u64) -> Result<Vec<HeadTask>> {
    let mut validations = Vec::new();
    for head in &plan.heads {
        let validation = Data::read(&head.validation, head, &HashSet::new());
        validations.push(validation.with_context(|| format!("head {:?}", head.name))?);
    }
    let exclude: HashSet<String> =
        validations.iter().flat_map(|data| &data.rows).map(|row| row.text.clone()).collect();
    let exclude: HashSet<&str> = exclude.iter().map(String::as_str).collect();
    let mut tasks = Vec::new();
    for (head, validation) in plan.heads.iter().zip(validations) {
        let task = Data::read(&head.data, head, &exclude)
            .and_then(|data| HeadTask::new(head.clone(), data, validation, seed))
            .with_context(|| format!("head {:?}", head.name))?;
        tasks.push(task);
    }
    Ok(tasks)
}

impl HeadTask {
    fn new(plan: HeadPlan, data: Data, validation: Data, seed: u64) -> Result<Self> {
        ensure!(
            !data.rows.is_empty(),
            "data: no rows are left; all texts are in a validation, or only leaves out all labels"
        );
        let labels = match plan.kind {
            Kind::Score => plan.score_fields.clone(),
            Kind::SingleLabel | Kind::MultiLabel => data.labels(),
        };
        data.check_spelling()?;
        let strata: Vec<_> = data.rows.iter().map(|row| stratum(&row.target)).collect();
        let split = match plan.kind {
            Kind::SingleLabel => {
                let labels: Vec<_> = strata.iter().map(String::as_str).collect();
                Split::by_label(&labels, plan.held_out(), seed)?
            }
            Kind::MultiLabel | Kind::Score => Split::by_likeness(&strata, plan.held_out(), seed)?,
        };
        let task = Self { plan, data, validation, labels, split };
        heads::check(task.name(), &task.labels, &task.output())?;
        task.check_validation()?;
        Ok(task)
    }

    /// Refuses labels that only the validation has: the head could not answer them.
    fn check_validation(&self) -> Result<()> {
        if self.kind() == Kind::Score {
            return Ok(());
        }
        for row in &self.validation.rows {
            let unknown = row.target.labels().iter().find(|label| !self.labels.contains(label));
            if let Some(label) = unknown {
                let source = self.validation.sources.get(row.source);
                bail!(
                    "{} has the label {label:?}, which no row of the training data has; --map, or map in a plan, \
                     renames it",
                    source.map_or_else(String::new, |path| path.display().to_string())
                );
            }
        }
        Ok(())
    }

    /// The texts that are held out of a score's data, with the scores that they should get.
    #[must_use]
    pub fn held_out(&self) -> Vec<(&str, f32)> {
        let shares = self.shares();
        let rows = self.split.held_out.iter().filter_map(|&row| self.data.rows.get(row));
        rows.filter_map(|row| match &row.target {
            Target::Numbers(numbers) => {
                let score = numbers.iter().zip(&shares).map(|(number, share)| number.map(|it| it * share));
                Some((row.text.as_str(), score.sum::<Option<f32>>()?))
            }
            Target::Label(_) | Target::Labels(_) => None,
        })
        .collect()
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(super) fn kind(&self) -> Kind {
        self.plan.kind
    }

    /// Number of the head's outputs.
    pub(super) fn outputs(&self) -> i64 {
        self.labels.len() as i64
    }

    /// What the head's logits will mean.
    pub(super) fn output(&self) -> Output {
        match self.kind() {
            Kind::SingleLabel => Output::SingleLabel,
            Kind::MultiLabel => Output::MultiLabel,
            Kind::Score => Output::Score(self.shares().into()),
        }
    }

    /// What each dimension of a score counts; they add up to 1.
    pub(super) fn shares(&self) -> Vec<f32> {
        let all = self.plan.weights.is_empty();
        let weight = |name| self.plan.weights.get(name).copied().unwrap_or(if all { 1.0 } else { 0.0 });
        let weights: Vec<f32> = self.labels.iter().map(weight).collect();
        let sum: f32 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// The rows' targets: for one label `[rows]` int64, else `[rows, outputs]` float32, NaN where nothing is known.
    pub(super) fn targets(&self, rows: &[Row]) -> Result<Tensor> {
        let index = |label: &String| {
            let index = self.labels.binary_search(label).ok();
            index.with_context(|| format!("label {label:?}, which no row of the training data has"))
        };
        if self.kind() == Kind::SingleLabel {
            let mut targets = Vec::with_capacity(rows.len());
            for row in rows {
                let Target::Label(label) = &row.target else { continue };
                targets.push(index(label)? as i64);
            }
            return Ok(Tensor::f_from_slice(&targets)?);
        }
        let mut targets = Vec::with_capacity(rows.len() * self.labels.len());
        for row in rows {
            let mut numbers = vec![0.0f32; self.labels.len()];
            match &row.target {
                Target::Numbers(known) => {
                    numbers = known.iter().map(|number| number.unwrap_or(f32::NAN)).collect();
                }
                Target::Label(label) => set(&mut numbers, index(label)?),
                Target::Labels(labels) => {
                    for label in labels {
                        set(&mut numbers, index(label)?);
                    }
                }
            }
            targets.append(&mut numbers);
        }
        Ok(Tensor::f_from_slice(&targets)?.f_view([rows.len() as i64, self.outputs()])?)
    }

    /// The targets of some rows of the data, by their indices.
    pub(super) fn targets_of(&self, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<_> = rows.iter().filter_map(|&row| self.data.rows.get(row)).cloned().collect();
        self.targets(&rows)
    }

    /// How much rows of the data count by source and, if each has one label, by label: `[rows]`. `targets` are theirs.
    pub(super) fn row_weights(
        &self,
        rows: &[usize],
        targets: &Tensor,
        class_weights: ClassWeights,
    ) -> Result<Tensor> {
        let weights = self.source_weights(rows)?;
        match self.kind() {
            Kind::SingleLabel => weighting::by_class(&weights, targets, self.outputs(), class_weights),
            Kind::MultiLabel | Kind::Score => Ok(weights),
        }
    }

    /// What rows of the data count by their sources, `[rows]`.
    pub(super) fn source_weights(&self, rows: &[usize]) -> Result<Tensor> {
        let sources: Vec<_> =
            rows.iter().filter_map(|&row| self.data.rows.get(row)).map(|row| row.source).collect();
        weighting::by_source(&sources, &self.data.weights)
    }
}

fn set(numbers: &mut [f32], index: usize) {
    if let Some(number) = numbers.get_mut(index) {
        *number = 1.0;
    }
}

/// What a row has in common with others: its labels, or its score to a tenth.
fn stratum(target: &Target) -> String {
    match target {
        Target::Label(label) => label.clone(),
        Target::Labels(labels) => {
            let mut labels = labels.clone();
            labels.sort();
            labels.join("\n")
        }
        Target::Numbers(numbers) => {
            let known: Vec<_> = numbers.iter().flatten().collect();
            let mean = known.iter().copied().sum::<f32>() / known.len().max(1) as f32;
            format!("{mean:.1}")
        }
    }
}
