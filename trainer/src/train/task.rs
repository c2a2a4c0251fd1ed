//! The data of one head, read and split.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use tch::Tensor;

use super::data::{Data, PromptKey, TrainingRow, TrainingTarget};
use super::plan::{HeadKind, HeadPlan, Plan};
use super::split::Split;
use super::weighting::{self, ClassWeights};
use llm_router_classifier::model::heads::{self, Output};

/// A head's plan, with its data.
#[derive(Debug)]
pub struct HeadTask {
    pub(super) plan: HeadPlan,
    pub(super) data: Data,
    /// The plan's `validation`: rows that are only reported on. They are not the validation rows of the
    /// split.
    pub(super) external_validation: Data,
    /// The labels, or the dimensions of a score, in the order of the head's outputs.
    pub(super) labels: Vec<String>,
    pub(super) split: Split,
}

/// Reads the data of all heads. Texts of any external validation data are left out of the training data.
///
/// # Errors
/// If a file is missing or invalid, or has too few rows. The error names the head.
pub fn load(plan: &Plan, seed: u64) -> Result<Vec<HeadTask>> {
    let mut validations = Vec::new();
    for head in &plan.heads {
        let validation = Data::read(&head.validation, head, &HashSet::new());
        validations.push(validation.with_context(|| format!("head {:?}", head.name))?);
    }
    let exclude: HashSet<PromptKey> =
        validations.iter().flat_map(|data| &data.rows).map(TrainingRow::key).collect();
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
    fn new(plan: HeadPlan, data: Data, external_validation: Data, seed: u64) -> Result<Self> {
        ensure!(
            !data.rows.is_empty(),
            "data: no rows are left: all texts are in validation data, or `only` excludes all labels"
        );
        let labels = match plan.kind {
            HeadKind::Score => plan.score_fields.clone(),
            HeadKind::SingleLabel | HeadKind::MultiLabel => data.labels(),
        };
        data.check_spelling()?;
        data.check_numbers(&plan)?;
        let strata: Vec<_> = data.rows.iter().map(|row| stratum(&row.target)).collect();
        let split = match plan.kind {
            HeadKind::SingleLabel => {
                let labels: Vec<_> = strata.iter().map(String::as_str).collect();
                Split::by_label(&labels, plan.test_fraction(), seed)?
            }
            HeadKind::MultiLabel | HeadKind::Score => Split::stratified(&strata, plan.test_fraction(), seed)?,
        };
        let task = Self { plan, data, external_validation, labels, split };
        heads::check(task.name(), &task.labels, &task.output())?;
        task.check_validation()?;
        Ok(task)
    }

    /// The task of a score whose rows are all trained on and, by cross-fitting, all reported on.
    ///
    /// # Errors
    /// If the plan is not for a score, or the head cannot have its name.
    pub fn cross_fitted(plan: HeadPlan, data: Data) -> Result<Self> {
        ensure!(plan.kind == HeadKind::Score, "only scores are cross-fitted");
        let all: Vec<_> = (0..data.rows.len()).collect();
        let split = Split { train: all.clone(), validation: Vec::new(), test: all };
        let labels = plan.score_fields.clone();
        let task = Self { plan, data, external_validation: Data::default(), labels, split };
        heads::check(task.name(), &task.labels, &task.output())?;
        Ok(task)
    }

    /// Rejects labels that only the external validation data has: the head could not predict them.
    fn check_validation(&self) -> Result<()> {
        if self.kind() == HeadKind::Score {
            return Ok(());
        }
        for row in &self.external_validation.rows {
            let unknown = row.target.labels().iter().find(|label| !self.labels.contains(label));
            if let Some(label) = unknown {
                let source = self.external_validation.sources.get(row.source);
                bail!(
                    "{} has the label {label:?}, which no training row has; rename it with --map, or map in a plan",
                    source.map_or_else(String::new, |path| path.display().to_string())
                );
            }
        }
        Ok(())
    }

    /// The test rows of a score: texts with their true scores.
    #[must_use]
    pub fn test_scores(&self) -> Vec<(&str, f32)> {
        let weights = self.dimension_weights();
        let rows = self.split.test.iter().filter_map(|&row| self.data.rows.get(row));
        rows.filter_map(|row| match &row.target {
            TrainingTarget::Numbers(numbers) => {
                let score = numbers.iter().zip(&weights).map(|(number, weight)| number.map(|it| it * weight));
                Some((row.text.as_str(), score.sum::<Option<f32>>()?))
            }
            TrainingTarget::Label(_) | TrainingTarget::Labels(_) => None,
        })
        .collect()
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(super) fn kind(&self) -> HeadKind {
        self.plan.kind
    }

    /// The number of the head's outputs.
    pub(super) fn outputs(&self) -> i64 {
        self.labels.len() as i64
    }

    /// The meaning of the head's logits.
    pub(super) fn output(&self) -> Output {
        match self.kind() {
            HeadKind::SingleLabel => Output::SingleLabel,
            HeadKind::MultiLabel => Output::MultiLabel,
            HeadKind::Score => Output::Score(self.dimension_weights().into()),
        }
    }

    /// The weights of a score's dimensions. Their sum is 1.
    pub(super) fn dimension_weights(&self) -> Vec<f32> {
        let all = self.plan.weights.is_empty();
        let weight = |name| self.plan.weights.get(name).copied().unwrap_or(if all { 1.0 } else { 0.0 });
        let weights: Vec<f32> = self.labels.iter().map(weight).collect();
        heads::normalized(&weights)
    }

    /// The targets of rows: `[rows]` int64 if each has one label, else `[rows, outputs]` float32, NaN where unknown.
    pub(super) fn targets(&self, rows: &[TrainingRow]) -> Result<Tensor> {
        let index = |label: &String| {
            let index = self.labels.binary_search(label).ok();
            index.with_context(|| format!("label {label:?}, which no training row has"))
        };
        if self.kind() == HeadKind::SingleLabel {
            let mut targets = Vec::with_capacity(rows.len());
            for row in rows {
                let TrainingTarget::Label(label) = &row.target else { continue };
                targets.push(index(label)? as i64);
            }
            return Ok(Tensor::f_from_slice(&targets)?);
        }
        let mut targets = Vec::with_capacity(rows.len() * self.labels.len());
        for row in rows {
            let mut numbers = vec![0.0f32; self.labels.len()];
            match &row.target {
                TrainingTarget::Numbers(known) => {
                    numbers = known.iter().map(|number| number.unwrap_or(f32::NAN)).collect();
                }
                TrainingTarget::Label(label) => set(&mut numbers, index(label)?),
                TrainingTarget::Labels(labels) => {
                    for label in labels {
                        set(&mut numbers, index(label)?);
                    }
                }
            }
            targets.append(&mut numbers);
        }
        Ok(Tensor::f_from_slice(&targets)?.f_view([rows.len() as i64, self.outputs()])?)
    }

    /// The targets of rows of the data, given by their indices.
    pub(super) fn targets_of(&self, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<_> = rows.iter().filter_map(|&row| self.data.rows.get(row)).cloned().collect();
        self.targets(&rows)
    }

    /// The weights of rows of the data, `[rows]`: by source and, if each row has one label, by label.
    /// `targets` are those of the same rows.
    pub(super) fn row_weights(
        &self,
        rows: &[usize],
        targets: &Tensor,
        class_weights: ClassWeights,
    ) -> Result<Tensor> {
        let weights = self.source_weights(rows)?;
        match self.kind() {
            HeadKind::SingleLabel => weighting::by_class(&weights, targets, self.outputs(), class_weights),
            HeadKind::MultiLabel | HeadKind::Score => Ok(weights),
        }
    }

    /// The weights of rows of the data by their sources, `[rows]`.
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

/// The stratum of a row: its labels, or its score to a tenth.
fn stratum(target: &TrainingTarget) -> String {
    match target {
        TrainingTarget::Label(label) => label.clone(),
        TrainingTarget::Labels(labels) => {
            let mut labels = labels.clone();
            labels.sort();
            labels.join("\n")
        }
        TrainingTarget::Numbers(numbers) => {
            let known: Vec<_> = numbers.iter().flatten().collect();
            let mean = known.iter().copied().sum::<f32>() / known.len().max(1) as f32;
            format!("{mean:.1}")
        }
    }
}
