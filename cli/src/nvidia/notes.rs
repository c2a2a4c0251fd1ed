//! Notes on what an import changes in a policy, and what to do about it.

use super::classes::{Basis, Head};
use super::llms::Class;
use super::policy::ImportedPolicy;
use super::quoted;

impl ImportedPolicy<'_> {
    /// What changes with the import. `default` is the policy's default model.
    pub(super) fn notes(&self, default: &str) -> Vec<String> {
        let mut notes = vec![self.classifier_note(default)];
        if let Basis::Ensemble { head, .. } | Basis::Classes(head) = &self.basis {
            notes.extend(self.position_notes(head, default));
        }
        for class in &self.classes {
            if let Err(reason) = &class.upstream {
                notes.push(format!("{}: {reason}. Its requests go to the default, {default:?}", class.title));
            }
            notes.extend(class.notes.iter().cloned());
        }
        notes.iter().map(|note| format!("policy {:?}: {note}", self.name)).collect()
    }

    fn classifier_note(&self, default: &str) -> String {
        let classifier = self.basis.classifier();
        match &self.basis {
            Basis::Ensemble { ensemble, .. } => {
                format!("the sidecar's head {classifier:?} replaces the ensemble {ensemble:?}")
            }
            Basis::Classes(_) => format!(
                "its url names no ensemble; by its classes, the sidecar's head {classifier:?} is taken, and the n-th \
                 class for the n-th label"
            ),
            Basis::Names { ensemble, .. } => {
                let ensemble = ensemble.as_ref().map_or("its url names no ensemble".to_owned(), |ensemble| {
                    format!("the ensemble {ensemble:?} is not the blueprint's")
                });
                format!(
                    "{ensemble}; its classes are named after labels of the sidecar's head {classifier:?}, which is \
                     taken"
                )
            }
            Basis::Custom { head, ensemble } => format!(
                "the ensemble {ensemble:?} is custom: train a head {head:?} with the labels {} \
                 (docs/train-your-own.md); until then all automatic requests go to the default, {default:?}",
                quoted(self.classes.iter().map(|class| &class.name).filter(|name| !name.is_empty()))
            ),
            Basis::Manual => format!(
                "its url names no ensemble, and its classes are not those of one: clients choose a class; all \
                 automatic requests go to the default, {default:?}"
            ),
        }
    }

    /// Notes for users who expect that classes are matched by name.
    fn position_notes(&self, head: &Head, default: &str) -> Vec<String> {
        let mut notes = Vec::new();
        let other_name = |(position, (label, class)): (usize, (&str, &Class))| {
            let same = head.position(&class.name) == Some(position);
            (!same).then(|| format!("{label:?} to {}", class.title))
        };
        let pairs: Vec<_> = head.labels().zip(&self.classes).enumerate().filter_map(other_name).collect();
        if !pairs.is_empty() {
            notes
                .push(format!("labels go to classes by position, as in the blueprint: {}", pairs.join(", ")));
        }
        let missing: Vec<_> = head.labels().skip(self.classes.len()).collect();
        if !missing.is_empty() {
            notes.push(format!(
                "it has no LLM for {}: the blueprint fails these requests, here they go to the default, {default:?}",
                quoted(missing)
            ));
        }
        let extra: Vec<_> =
            self.classes.iter().skip(head.labels().count()).map(|class| &*class.title).collect();
        if !extra.is_empty() {
            notes.push(format!("no label is left for {}: only manual routing goes there", extra.join(", ")));
        }
        notes
    }
}
