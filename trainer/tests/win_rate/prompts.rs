//! Graded prompts on two subjects.

use serde_json::json;

const FOODS: [&str; 10] =
    ["soup", "bread", "rice", "noodles", "salad", "curry", "pancakes", "cheese", "stew", "pasta"];
const PLANETS: [&str; 10] =
    ["Mercury", "Venus", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto", "Ceres", "Titan"];
const ABOUT_FOODS: [&str; 9] = [
    "How do I cook {}?",
    "A recipe for {}",
    "Which spices go with {}?",
    "How long does {} keep in the fridge?",
    "What wine suits {}?",
    "Is {} good for breakfast?",
    "How many calories has a plate of {}?",
    "My {} tastes too salty, what can I do?",
    "Tell me how my grandmother may have made {}",
];
const ABOUT_PLANETS: [&str; 9] = [
    "How far away is {}?",
    "The orbit of {}",
    "What is the atmosphere of {} like?",
    "When was {} discovered by astronomers?",
    "How strong is gravity on {}?",
    "Can I see {} with a telescope?",
    "Which space probes have visited {}?",
    "How long is one day on {}, and one year?",
    "Tell me what the surface of {} may look like",
];

/// A prompt, and whether it is about a planet.
pub(crate) fn prompts() -> Vec<(String, bool)> {
    let texts = |templates: [&'static str; 9], words: [&'static str; 10], about: bool| {
        let texts =
            templates.into_iter().flat_map(move |template| words.map(|word| template.replace("{}", word)));
        texts.map(move |text| (text, about))
    };
    texts(ABOUT_FOODS, FOODS, false).chain(texts(ABOUT_PLANETS, PLANETS, true)).collect()
}

/// Rows with grades. `weak` is the weak model's grade for a prompt; the strong model fails one in twenty.
pub(crate) fn graded(mut weak: impl FnMut(&str, bool, &mut fastrand::Rng) -> bool) -> String {
    let mut random = fastrand::Rng::with_seed(4);
    let row = |(text, about_planet): (String, bool)| {
        let weak = weak(&text, about_planet, &mut random);
        let strong = random.f64() >= 0.05;
        let row = json!({
            "text": text, "weak": f64::from(u8::from(weak)), "strong": f64::from(u8::from(strong)), "method": "judge",
            "weak_completion": "...", "weak_usage": {"prompt_tokens": 12, "completion_tokens": 100},
            "strong_usage": {"prompt_tokens": 12, "completion_tokens": 200},
        });
        row.to_string() + "\n"
    };
    prompts().into_iter().map(row).collect()
}

/// The weak model fails nine in ten prompts about planets, and one in ten others.
pub(crate) fn hidden_subject() -> String {
    graded(|_, about_planet, random| random.f64() >= if about_planet { 0.9 } else { 0.1 })
}
