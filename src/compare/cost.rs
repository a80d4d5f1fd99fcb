//! What a system costs, beside how well it finds: bytes, latency, questions a second, memory.
//!
//! In flow the systems that search the index and the judged questions; out flows a [`Cost`] a system, and the [`Costs`] that
//! they share. Measured after the comparison's own searches, so that what they read is in memory:
//!
//! - one question at a time on one thread, up to 200 questions evenly spread over the set, the same request as the
//!   comparison's (its depth and as many passages, without texts): median and 99th percentile, and questions a second;
//! - the same questions together on all threads, in rounds until they took a fifth of a second.
//!
//! Times differ from run to run and from machine to machine; nothing else of a comparison depends on them. Cost: about a
//! second and a half a system at most, since slow systems are asked fewer questions.

use super::System;
use crate::collection::Query;
use crate::error::{Error, Result};
use crate::process;
use crate::progress::{Progress, Silent, Stage};
use crate::search::{Mode, SearchRequest, Searcher};
use std::time::{Duration, Instant};

/// Questions timed one at a time, at most.
const SAMPLE: usize = 200;
/// Questions timed one at a time even where they are slow.
const FEWEST: usize = 20;
/// Time after which no more single questions are asked.
const PATIENCE: Duration = Duration::from_millis(1000);
/// Time that rounds of all questions together take at least.
const ROUNDS: Duration = Duration::from_millis(200);

/// What one system costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes of the sides it scores with.
    pub index_bytes: u64,
    /// Questions timed one at a time.
    pub queries: usize,
    /// Median time of one question on one thread.
    pub p50: Duration,
    /// 99th percentile of the same.
    pub p99: Duration,
    /// Questions a second, one after the other on one thread.
    pub per_second_one: f64,
    /// Questions a second, all together on all threads.
    pub per_second_all: f64,
}

/// What the systems of a comparison share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Bytes of the sparse side; passages' texts and ids are among them.
    pub sparse_bytes: u64,
    /// Bytes of the dense side; `None` where the index has none.
    pub dense_bytes: Option<u64>,
    /// Seconds the build took, where the manifest says so.
    pub build_seconds: Option<f64>,
    /// Threads that "all" means.
    pub threads: usize,
    /// The most memory the process held at once until the comparison was over, in bytes; `None` where the system does
    /// not tell. One process for all systems, so it is none's own.
    pub peak_memory: Option<u64>,
}

impl Costs {
    /// Of an index, up to now.
    pub(super) fn of(searcher: &Searcher) -> Self {
        let index = searcher.index();
        Costs {
            sparse_bytes: index.bytes("sparse"),
            dense_bytes: index.dense().map(|_| index.bytes("dense")),
            build_seconds: index.manifest().build_seconds,
            threads: rayon::current_num_threads(),
            peak_memory: process::peak_memory(),
        }
    }
}

/// Times every system that searches the index; `requests` are what the comparison asked, `None` for run files.
pub(super) fn measure(
    searcher: &Searcher,
    queries: &[&Query],
    requests: &[Option<SearchRequest>],
    progress: &dyn Progress,
) -> Result<Vec<Option<Cost>>> {
    let size = queries.len().min(SAMPLE);
    let sample: Vec<&str> = (0..size).map(|i| queries[i * queries.len() / size].text.as_str()).collect();
    progress.begin(Stage::Timing, Some(requests.iter().flatten().count() as u64));
    let mut costs = Vec::with_capacity(requests.len());
    for request in requests {
        progress.checkpoint()?;
        costs.push(match request {
            None => None,
            Some(request) => {
                let cost = time(searcher, &sample, request)?;
                progress.advance(Stage::Timing, 1);
                Some(cost)
            }
        });
    }
    progress.finish(Stage::Timing);
    Ok(costs)
}

fn time(searcher: &Searcher, sample: &[&str], request: &SearchRequest) -> Result<Cost> {
    let (started, mut asked) = (Instant::now(), 0);
    while asked == 0 || started.elapsed() < ROUNDS {
        asked += searcher.rank_all(sample, request, &Silent)?.len();
    }
    let per_second_all = asked as f64 / started.elapsed().as_secs_f64();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let alone = alone.map_err(|e| Error::bug("no thread to time searches on").because(e))?;
    let times: Result<Vec<Duration>> = alone.install(|| {
        let started = Instant::now();
        let mut times = Vec::with_capacity(sample.len());
        for question in sample {
            let began = Instant::now();
            searcher.rank(question, request)?;
            times.push(began.elapsed());
            if times.len() >= FEWEST && started.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(times)
    });
    let mut times = times?;
    times.sort_unstable();
    let total = times.iter().sum::<Duration>().as_secs_f64();
    Ok(Cost {
        index_bytes: bytes(searcher, request.mode),
        queries: times.len(),
        p50: at(&times, 0.5),
        p99: at(&times, 0.99),
        per_second_one: times.len() as f64 / total.max(1e-9),
        per_second_all,
    })
}

fn bytes(searcher: &Searcher, mode: Mode) -> u64 {
    let side = |name: &str| searcher.index().bytes(name);
    match mode {
        Mode::Sparse => side("sparse"),
        Mode::Dense => side("dense"),
        Mode::Hybrid => side("sparse") + side("dense"),
    }
}

/// The sorted time that a share of all does not pass (nearest rank).
fn at(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// The request behind each system; `None` for run files, which cost nothing here.
pub(super) fn requests(
    systems: &[System],
    ask: impl Fn(&SearchRequest) -> SearchRequest,
) -> Vec<Option<SearchRequest>> {
    let of = |system: &System| match system {
        System::Index { request, .. } => Some(ask(request)),
        System::File { .. } => None,
    };
    systems.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!((at(&times, 0.5), at(&times, 0.99)), (Duration::from_millis(100), Duration::from_millis(198)));
        assert_eq!((at(&times[..1], 0.5), at(&times[..1], 0.99)), (times[0], times[0]));
        assert_eq!(at(&[], 0.5), Duration::ZERO);
    }
}
