//! What an audit looks at and what it found.

/// Something that can be wrong with an experiment, or that its figures have to be read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// Questions without a word.
    EmptyQuestions,
    /// Questions that also stand in the data set with other gold passages and none in common.
    Contradictions,
    /// Questions without a gold passage.
    WithoutGold,
    /// Gold passages that the index does not hold.
    GoldMissing,
    /// Gold passages with an unjudged twin of the very same words.
    GoldTwins,
    /// Gold passages with an unjudged twin of nearly the same words.
    GoldNearTwins,
    /// Questions whose answers are not in their gold passages.
    AnswersOutside,
    /// Questions without a known answer.
    WithoutAnswers,
    /// Questions that are asked in training.
    SeenQuestions,
    /// Questions that are asked in training in nearly the same words.
    NearQuestions,
    /// Questions whose answer is one of a training question.
    SeenAnswers,
    /// Gold passages that are gold, or have the words of one that is, in training.
    SeenPassages,
    /// Gold passages that nearly have the words of one that is gold in training.
    NearPassages,
    /// Passages that repeat an earlier one's words.
    Duplicates,
    /// Passages that nearly repeat an earlier one's words.
    NearDuplicates,
    /// Unjudged among the first ten of BM25.
    UnjudgedSparse,
    /// Unjudged among the first ten of the dense side.
    UnjudgedDense,
}

impl Check {
    /// All checks, in the order of the report.
    pub const ALL: [Check; 17] = [
        Check::EmptyQuestions,
        Check::Contradictions,
        Check::WithoutGold,
        Check::GoldMissing,
        Check::GoldTwins,
        Check::GoldNearTwins,
        Check::AnswersOutside,
        Check::WithoutAnswers,
        Check::SeenQuestions,
        Check::NearQuestions,
        Check::SeenAnswers,
        Check::SeenPassages,
        Check::NearPassages,
        Check::Duplicates,
        Check::NearDuplicates,
        Check::UnjudgedSparse,
        Check::UnjudgedDense,
    ];

    /// The name files use.
    pub fn name(self) -> &'static str {
        match self {
            Check::EmptyQuestions => "empty-questions",
            Check::Contradictions => "contradictions",
            Check::WithoutGold => "questions-without-gold",
            Check::GoldMissing => "gold-missing",
            Check::GoldTwins => "gold-twins",
            Check::GoldNearTwins => "gold-near-twins",
            Check::AnswersOutside => "answers-outside-gold",
            Check::WithoutAnswers => "questions-without-answers",
            Check::SeenQuestions => "seen-questions",
            Check::NearQuestions => "near-questions",
            Check::SeenAnswers => "seen-answers",
            Check::SeenPassages => "seen-passages",
            Check::NearPassages => "near-passages",
            Check::Duplicates => "duplicates",
            Check::NearDuplicates => "near-duplicates",
            Check::UnjudgedSparse => "unjudged-bm25",
            Check::UnjudgedDense => "unjudged-dense",
        }
    }

    /// What is counted, in a few words.
    pub fn what(self) -> &'static str {
        match self {
            Check::EmptyQuestions => "questions without a word",
            Check::Contradictions => "questions asked again with other gold",
            Check::WithoutGold => "questions without a gold passage",
            Check::GoldMissing => "gold passages not in the index",
            Check::GoldTwins => "gold passages with an unjudged twin",
            Check::GoldNearTwins => "gold passages with an unjudged near twin",
            Check::AnswersOutside => "questions whose gold lacks the answer",
            Check::WithoutAnswers => "questions without a known answer",
            Check::SeenQuestions => "questions asked in training",
            Check::NearQuestions => "questions nearly asked in training",
            Check::SeenAnswers => "questions with an answer of training",
            Check::SeenPassages => "gold passages that are gold in training",
            Check::NearPassages => "gold passages nearly gold in training",
            Check::Duplicates => "passages that repeat another one",
            Check::NearDuplicates => "passages that nearly repeat another one",
            Check::UnjudgedSparse => "unjudged in the first ten of BM25",
            Check::UnjudgedDense => "unjudged in the first ten of dense",
        }
    }

    /// Why it matters, in one sentence without a full stop.
    pub fn why(self) -> &'static str {
        match self {
            Check::EmptyQuestions => "nothing can find them, and every one lowers every mean",
            Check::Contradictions => "the words are the same, so whatever finds one gold passage misses the other",
            Check::WithoutGold => "they are not measured, or count 0",
            Check::GoldMissing => "no system can find them, so recall cannot reach 1",
            Check::GoldTwins => "an unjudged twin of the gold passage is as right as the gold, and counts as wrong",
            Check::GoldNearTwins => "an unjudged near twin is about as right as the gold, and counts as wrong",
            Check::AnswersOutside => "answer measures and the gold passage contradict each other there",
            Check::WithoutAnswers => "answer measures leave them out",
            Check::SeenQuestions => "a trained model has been told these answers: its figures say what it remembers",
            Check::NearQuestions => "of these a trained model may have been told the answer in nearly the same words",
            Check::SeenAnswers => "what was learnt about the answer helps here: compare seen with unseen",
            Check::SeenPassages => {
                "the model was trained to find them, if by other questions: compare seen with unseen"
            }
            Check::NearPassages => "the model was trained to find passages much like them: compare seen with unseen",
            Check::Duplicates => "they take places in every ranking, and twins of gold count as wrong",
            Check::NearDuplicates => "they take places in every ranking, and twins of gold count as wrong",
            Check::UnjudgedSparse | Check::UnjudgedDense => {
                "what nobody judged counts as wrong, though some of it may be right"
            }
        }
    }

    /// What to do about it, in one sentence without a full stop.
    pub fn remedy(self) -> &'static str {
        match self {
            Check::EmptyQuestions | Check::WithoutGold => "take them out of the data set",
            Check::Contradictions => "judge the gold passages of both as relevant to each",
            Check::GoldMissing => "index the collection the questions were judged on",
            Check::GoldTwins => "build the index with `--dedup exact`, or judge the twins",
            Check::GoldNearTwins => "build the index with `--dedup near`, or judge the twins",
            Check::AnswersOutside => "look at some: wrong gold, answers worded otherwise, or cut in two by `--chunk`",
            Check::WithoutAnswers => "none, unless they should have some",
            Check::SeenQuestions => "take them out of the training set",
            Check::NearQuestions => "look at them, and take those that ask the same out of the training set",
            Check::SeenAnswers | Check::SeenPassages | Check::NearPassages => "report both groups apart",
            Check::Duplicates => "build the index with `--dedup exact`",
            Check::NearDuplicates => "build the index with `--dedup near`",
            Check::UnjudgedSparse | Check::UnjudgedDense => {
                "judge the first ten of each system, or read answer measures beside"
            }
        }
    }

    /// Whether figures are wrong where it is found; others have to be known to read figures rightly.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Check::EmptyQuestions
                | Check::Contradictions
                | Check::GoldMissing
                | Check::GoldTwins
                | Check::GoldNearTwins
                | Check::AnswersOutside
                | Check::SeenQuestions
        )
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// What else can be said of them, in a few words.
    pub detail: Option<String>,
    /// The first of them.
    pub examples: Vec<String>,
}

/// Examples a finding has at most.
pub const EXAMPLES: usize = 5;

/// What is wrong with an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Passages of the index.
    pub passages: usize,
    /// Questions of the data set.
    pub questions: usize,
    /// Questions of the training set, where one was given.
    pub training: Option<usize>,
    /// One finding a check that was made, in [`Check::ALL`]'s order, also where nothing was found.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// What makes figures wrong.
    pub fn faults(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.check.is_fault() && finding.count > 0)
    }

    /// A check's finding; `None` where it was not made.
    pub fn finding(&self, check: Check) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }
}

/// A finding in the making: what is counted is added one by one.
pub(super) struct Count {
    finding: Finding,
}

impl Count {
    pub(super) fn new(check: Check) -> Self {
        Count { finding: Finding { check, count: 0, of: 0, detail: None, examples: Vec::new() } }
    }

    /// Looks at one; what is found has an example to show.
    pub(super) fn add(&mut self, found: Option<String>) {
        self.finding.of += 1;
        if let Some(example) = found {
            self.finding.count += 1;
            if self.finding.examples.len() < EXAMPLES {
                self.finding.examples.push(example);
            }
        }
    }

    pub(super) fn finish(self) -> Finding {
        self.finding
    }

    pub(super) fn with(mut self, detail: impl Into<String>) -> Finding {
        self.finding.detail = Some(detail.into());
        self.finding
    }
}
