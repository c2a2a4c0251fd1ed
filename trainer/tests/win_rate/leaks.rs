//! No score that is reported depends on the row that it is reported on.

use std::time::Instant;

use llm_router_classifier::device::Compute;
use llm_router_trainer::train::{
    CrossFittedHead, Data, HeadKind, HeadPlan, HeadTask, Job, Source, TrainingRow, TrainingTarget,
};
use llm_router_trainer::win_rate::assign_folds;
use tch::Device;

use crate::Workspace;
use crate::prompts::prompts;
use crate::time_limit::TimeLimit;

/// Every row's score by a head that has not seen it, where `target` gives the rows' scores.
fn scores(workspace: &Workspace, folds: &[usize], target: impl Fn(usize, bool) -> f32) -> Vec<f32> {
    let row = |(index, (text, about_planet)): (usize, (String, bool))| TrainingRow {
        text,
        context: Vec::new(),
        target: TrainingTarget::Numbers(vec![Some(target(index, about_planet))]),
        source: 0,
    };
    let rows = prompts().into_iter().step_by(3).enumerate().map(row).collect();
    let data = Data { sources: vec!["graded.jsonl".into()], weights: vec![1.0], rows };
    let source = Source::from(std::path::PathBuf::from("graded.jsonl"));
    let plan = HeadPlan { kind: HeadKind::Score, ..HeadPlan::new("mine", vec![source]) };
    let model = workspace.path("model");
    let job = Job {
        model: &model,
        out: &model,
        compute: Compute::from(Device::Cpu),
        threads: 1,
        seed: 1,
        command: "llm-router-train win-rate ...",
        started: Instant::now(),
    };
    let task = HeadTask::cross_fitted(plan, data).unwrap();
    CrossFittedHead::fit(&task, folds, &job).unwrap().scores().to_vec()
}

#[test]
fn the_grades_of_a_fold_have_no_influence_on_its_scores() {
    let _limit = TimeLimit::start();
    let workspace = Workspace::new();
    let target = |about_planet: bool| if about_planet { 0.1 } else { 0.6 };
    let targets: Vec<_> = prompts().iter().step_by(3).map(|(_, about)| f64::from(target(*about))).collect();
    let folds = assign_folds(&(0..targets.len()).collect::<Vec<_>>(), &targets, 3, 1);
    let plain = scores(&workspace, &folds, |_, about| target(about));
    let falsified =
        scores(&workspace, &folds, |row, about| if folds[row] == 0 { 0.9 } else { target(about) });
    for (row, fold) in folds.iter().enumerate() {
        match fold {
            0 => assert_eq!(plain[row], falsified[row], "row {row} influences its own score"),
            _ => assert!((plain[row] - falsified[row]).abs() > 1e-3, "row {row} has not learnt from fold 0"),
        }
    }
    let by_subject = |about: bool| {
        let rows = prompts().into_iter().step_by(3).zip(&plain).filter(|((_, it), _)| *it == about);
        let scores: Vec<f32> = rows.map(|(_, score)| *score).collect();
        scores.iter().sum::<f32>() / scores.len() as f32
    };
    assert!(by_subject(false) - by_subject(true) > 0.2, "{plain:?}");
}
