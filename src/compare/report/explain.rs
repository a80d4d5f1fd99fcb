//! A diagnosis → the sections of a report that say why.

use super::model::{CauseCount, Causes, CausesOfSystem, Miss, MissHit, MissList, MissReason, Report};
use crate::compare::diagnose::{self, Diagnosis, Shown, SystemMisses, Verdict};

/// Misses shown with their lists; the JSONL of the diagnosis has all.
pub const WORST: usize = 10;

impl Report {
    /// Adds the causes, counted, and the misses by which systems are furthest behind the best one.
    pub fn explain(&mut self, diagnosis: &Diagnosis) {
        self.causes = Some(Causes {
            k: diagnosis.k,
            n: diagnosis.queries,
            systems: diagnosis.systems.iter().map(counted).collect(),
            left_out: diagnosis.left_out.clone(),
        });
        self.misses =
            diagnosis.worst_of_each(WORST).into_iter().map(|(at, found)| miss(found, at, &diagnosis.systems)).collect();
    }
}

fn counted(system: &SystemMisses) -> CausesOfSystem {
    let holds = system.counts.iter().filter(|(_, _, all)| *all > 0);
    let count = |(cause, main, all): &(diagnose::Cause, usize, usize)| CauseCount {
        cause: cause.name().to_string(),
        meaning: cause.meaning().to_string(),
        main: *main,
        all: *all,
    };
    CausesOfSystem { system: system.name.clone(), missed: system.missed, causes: holds.map(count).collect() }
}

fn miss(found: &diagnose::Miss, behind: usize, systems: &[SystemMisses]) -> Miss {
    let lists = systems.iter().zip(&found.verdicts).map(|(system, verdict)| list(&system.name, verdict));
    Miss {
        query: found.query.to_string(),
        text: found.text.clone(),
        behind: systems.get(behind).map(|system| system.name.clone()).unwrap_or_default(),
        gold: found.gold.iter().map(ToString::to_string).collect(),
        gold_text: found.gold_text.clone(),
        answers: found.answers.clone(),
        lists: lists.collect(),
    }
}

fn list(system: &str, verdict: &Verdict) -> MissList {
    let reason = |reason: &diagnose::Reason| MissReason {
        cause: reason.cause.name().to_string(),
        evidence: reason.evidence.clone(),
    };
    MissList {
        system: system.to_string(),
        missed: verdict.missed,
        rank: verdict.rank,
        reasons: verdict.reasons.iter().map(reason).collect(),
        hits: verdict.top.iter().map(hit).collect(),
    }
}

fn hit(shown: &Shown) -> MissHit {
    MissHit {
        id: shown.id.to_string(),
        title: shown.title.clone(),
        text: shown.text.clone(),
        score: shown.score,
        relevant: shown.gold,
        holds_answer: shown.holds_answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::diagnose::{Cause, Reason};

    #[test]
    fn a_report_says_why_as_the_diagnosis_does() {
        let shown = |id: &str, gold: bool| Shown {
            id: id.into(),
            title: "t".into(),
            text: "x".into(),
            score: 2.5,
            gold,
            holds_answer: Some(gold),
        };
        let reason = Reason { cause: Cause::Length, evidence: "with b = 0 it is at rank 3".into() };
        let miss = |query: &str, rank: Option<usize>| diagnose::Miss {
            query: query.into(),
            text: "why".into(),
            answers: vec!["because".into()],
            gold: vec!["d1".into()],
            gold_text: None,
            verdicts: vec![
                Verdict { rank, missed: true, reasons: vec![reason.clone()], top: vec![shown("d2", false)] },
                Verdict { rank: Some(1), missed: false, reasons: Vec::new(), top: vec![shown("d1", true)] },
            ],
        };
        let system = |name: &str, missed: usize| SystemMisses {
            name: name.into(),
            mode: None,
            missed,
            counts: Cause::ALL
                .map(|cause| if cause == Cause::Length { (cause, missed, missed) } else { (cause, 0, 0) })
                .into(),
        };
        let diagnosis = Diagnosis {
            k: 10,
            queries: 40,
            systems: vec![system("bm25", 12), system("dense", 0)],
            misses: (0..12).map(|i| miss(&format!("q{i}"), (i < 11).then_some(20))).collect(),
            left_out: vec!["other word forms".into()],
        };
        let mut report = Report::default();
        report.explain(&diagnosis);
        let causes = report.causes.unwrap();
        assert_eq!((causes.k, causes.n, causes.left_out.len()), (10, 40, 1));
        let length = CauseCount { cause: "length".into(), meaning: Cause::Length.meaning().into(), main: 12, all: 12 };
        assert_eq!((&causes.systems[0].causes, causes.systems[0].missed), (&vec![length], 12));
        assert!(causes.systems[1].causes.is_empty());
        // The one that was not found at all is the worst; ten are shown.
        assert_eq!((report.misses.len(), report.misses[0].query.as_str()), (WORST, "q11"));
        assert_eq!(report.misses[0].behind, "bm25");
        let list = &report.misses[1].lists[0];
        assert_eq!((list.system.as_str(), list.rank, list.missed), ("bm25", Some(20), true));
        assert_eq!(list.reasons[0].evidence, "with b = 0 it is at rank 3");
        assert!(report.misses[0].lists[1].hits[0].relevant && !list.hits[0].relevant);
    }
}
