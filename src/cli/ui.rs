//! Everything the program says: data on stdout, the rest on stderr; colour, bars, errors and tables.

use super::args::{Global, When};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parallax::{Error, ErrorKind, Progress, Result, Stage};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Set by Ctrl-C; long work looks at it through [`Progress::cancelled`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The one mouth of the program.
pub(crate) struct Ui {
    quiet: bool,
    verbose: bool,
    choice: ColorChoice,
    bars: bool,
    command: String,
}

impl Ui {
    pub(crate) fn new(global: &Global, command: String) -> Self {
        let choice = match global.color {
            When::Auto => ColorChoice::Auto,
            When::Always => ColorChoice::Always,
            When::Never => ColorChoice::Never,
        };
        // The first Ctrl-C asks, the second one does not.
        let _ = ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                #[allow(clippy::exit)]
                std::process::exit(130);
            }
        });
        let bars = !global.quiet && !global.no_progress && std::io::stderr().is_terminal();
        Ui { quiet: global.quiet, verbose: global.verbose, choice, bars, command }
    }

    /// The command as typed.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Whether stdout is a terminal.
    pub(crate) fn on_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Columns to write in.
    pub(crate) fn width(&self) -> usize {
        let columns = if self.on_terminal() { console_width() } else { None };
        columns.unwrap_or(100).clamp(40, 120)
    }

    /// Writes data to stdout. A reader that went away is a polite end, told by [`ErrorKind::Interrupted`] with no message.
    pub(crate) fn data(&self, text: &str) -> Result<()> {
        let mut out = AutoStream::new(std::io::stdout(), self.choice);
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Error::new(ErrorKind::Interrupted, ""),
            _ => Error::new(ErrorKind::Io, "could not write to the standard output").because(e),
        })
    }

    /// A line on stderr, left out when quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// A line on stderr, only when asked for more.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            self.say(text);
        }
    }

    /// A warning on stderr, also when quiet.
    pub(crate) fn warn(&self, text: &str) {
        self.say(&format!("{}: {text}", paint("warning", AnsiColor::Yellow)));
    }

    fn say(&self, text: &str) {
        let mut err = AutoStream::new(std::io::stderr(), self.choice);
        let _ = writeln!(err, "{text}");
    }

    /// Shows an error with its causes and hints, and gives the exit code.
    pub(crate) fn fail(&self, error: &Error) -> u8 {
        if error.kind() == ErrorKind::Interrupted && error.message().is_empty() {
            return 0;
        }
        let mut text = format!("{}: {error}", paint("error", AnsiColor::Red));
        let mut cause = std::error::Error::source(error);
        while let Some(reason) = cause {
            text += &format!("\n{}: {reason}", paint("caused by", AnsiColor::Red));
            cause = reason.source();
        }
        if !error.hints().is_empty() {
            text.push('\n');
        }
        for hint in error.hints() {
            text += &format!("\n{}: {hint}", paint("hint", AnsiColor::Cyan));
        }
        self.say(&text);
        error.kind().exit_code()
    }

    /// Runs a command; a panic becomes an error that asks to be reported.
    pub(crate) fn guarded(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::bug(format!("parallax stopped where it should not: {said}")))
        })
    }

    /// A progress for one piece of long work.
    pub(crate) fn progress(&self) -> Bars<'_> {
        let target = if self.bars { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        Bars { ui: self, bars, stages: Mutex::new(HashMap::new()), terse: false }
    }

    /// A progress whose stages leave a line behind only when more is asked for: of long work in many steps.
    pub(crate) fn terse_progress(&self) -> Bars<'_> {
        Bars { terse: true, ..self.progress() }
    }
}

/// Text in a colour; the stream takes colours out again where they are not wanted.
pub(crate) fn paint(text: &str, color: AnsiColor) -> String {
    let style = Style::new().bold().fg_color(Some(color.into()));
    format!("{style}{text}{style:#}")
}

/// Text in bold.
pub(crate) fn bold(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// Text that steps back.
pub(crate) fn dim(text: &str) -> String {
    let style = Style::new().dimmed();
    format!("{style}{text}{style:#}")
}

fn console_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// Bars on a terminal, one plain line a stage elsewhere.
pub(crate) struct Bars<'a> {
    ui: &'a Ui,
    bars: MultiProgress,
    stages: Mutex<HashMap<Stage, Running>>,
    terse: bool,
}

struct Running {
    bar: ProgressBar,
    started: Instant,
    done: AtomicU64,
    figures: Vec<(String, f64)>,
}

impl Bars<'_> {
    fn with(&self, stage: Stage, act: impl FnOnce(&mut Running)) {
        if let Ok(mut stages) = self.stages.lock()
            && let Some(running) = stages.get_mut(&stage)
        {
            act(running);
        }
    }
}

impl Progress for Bars<'_> {
    fn begin(&self, stage: Stage, total: Option<u64>) {
        let bar = self.bars.add(match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        });
        let template = match total {
            // Its examples/s are a figure: steps of different batches do not compare.
            Some(_) if stage == Stage::Training => "{prefix:<12}{bar:30} {human_pos:>9}/{human_len}  {eta} left  {msg}",
            Some(_) => "{prefix:<12}{bar:30} {human_pos:>9}/{human_len}  {per_sec}  {eta}  {msg}",
            None => "{prefix:<12}{spinner} {human_pos:>9}  {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.set_prefix(stage.name());
        bar.enable_steady_tick(Duration::from_millis(250));
        if let Ok(mut stages) = self.stages.lock() {
            let (started, done) = (Instant::now(), AtomicU64::new(0));
            stages.insert(stage, Running { bar, started, done, figures: Vec::new() });
        }
    }

    fn advance(&self, stage: Stage, units: u64) {
        self.with(stage, |running| {
            running.done.fetch_add(units, Ordering::Relaxed);
            running.bar.inc(units);
        });
    }

    fn resumed(&self, stage: Stage, units: u64) {
        self.with(stage, |running| {
            running.bar.set_position(units);
            // What took no time now says nothing of the time to come.
            running.bar.reset_eta();
        });
    }

    fn figure(&self, stage: Stage, name: &str, value: f64) {
        self.with(stage, |running| {
            match running.figures.iter_mut().find(|(known, _)| known == name) {
                Some((_, figure)) => *figure = value,
                None => running.figures.push((name.to_string(), value)),
            }
            running.bar.set_message(figures(&running.figures));
        });
    }

    fn finish(&self, stage: Stage) {
        // Of a training's many validations the figures say enough.
        let mut within = false;
        self.with(Stage::Training, |training| within = stage == Stage::Validating && !training.bar.is_finished());
        self.with(stage, |running| {
            running.bar.finish_and_clear();
            let done = running.done.load(Ordering::Relaxed);
            let done = if stage == Stage::Verifying { bytes(done) } else { thousands(done) };
            let line = format!("{:<12}{done:>12}  {}", stage.name(), duration(running.started.elapsed()));
            if self.terse || within { self.ui.detail(&line) } else { self.ui.note(&line) }
        });
    }

    fn warn(&self, message: &str) {
        self.bars.suspend(|| self.ui.warn(message));
    }

    fn cancelled(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}

/// `loss 1.2345  examples/s 1,234`.
fn figures(figures: &[(String, f64)]) -> String {
    let shown = figures.iter().map(|(name, value)| match value {
        value if *value >= 100.0 => format!("{name} {}", thousands(value.round() as u64)),
        value => format!("{name} {value:.4}"),
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// `1,234,567`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `87 MB`: decimal units, two significant places below ten.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `340 ms`, `1.2 s`, `1 m 9 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.1} s"),
        s => format!("{} m {} s", (s / 60.0) as u64, (s % 60.0) as u64),
    }
}

/// Control characters made visible: hostile text must not steer a terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}') =>
            {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// The head of a text that fits some columns, cut at a word where one is near, `…` at the end when cut.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_string();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        cut.push(c);
    }
    let word = cut.rfind(' ').filter(|at| cut.len() - at < 16).unwrap_or(cut.len());
    cut.truncate(word);
    cut.push('…');
    cut
}

/// Rows in aligned columns: the first column to the left, the others to the right, widths in terminal cells.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| visible(cell)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - visible(cell));
            if c > 0 {
                line += "  ";
            }
            line += &if c == 0 { format!("{cell}{pad}") } else { format!("{pad}{cell}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// As [`table`], in as many tables below each other as it takes to stay within `width` columns; each repeats the first
/// column. A column that is too wide alone stays whole.
pub(crate) fn fit_table(rows: &[Vec<String>], width: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| visible(cell)).max().unwrap_or(0);
    let (mut tables, mut from) = (Vec::new(), 1);
    while from < columns {
        let (mut to, mut used) = (from + 1, wide(0) + 2 + wide(from));
        while to < columns && used + 2 + wide(to) <= width {
            used += 2 + wide(to);
            to += 1;
        }
        let piece = |row: &Vec<String>| row.iter().take(1).chain(row.iter().take(to).skip(from)).cloned().collect();
        tables.push(table(&rows.iter().map(piece).collect::<Vec<_>>()));
        from = to;
    }
    tables.join("\n")
}

/// A text with its lines broken at spaces to stay within `width` columns; a longer word stays whole.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        let mut used = 0;
        for word in line.split(' ') {
            let wide = visible(word);
            if used > 0 && used + 1 + wide > width {
                wrapped.push('\n');
                used = 0;
            } else if used > 0 {
                wrapped.push(' ');
                used += 1;
            }
            wrapped += word;
            used += wide;
        }
        wrapped.push('\n');
    }
    wrapped
}

/// Columns a text takes, colour codes left out.
fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (thousands(0), thousands(999), thousands(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!((bytes(999), bytes(1_500), bytes(87_400_000)), ("999 B".into(), "1.5 kB".into(), "87 MB".into()));
        let times = [0.34, 1.24, 69.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(times, ["340 ms", "1.2 s", "1 m 9 s"]);
        let training = [("loss".to_string(), 1.23456), ("examples/s".to_string(), 12_345.6)];
        assert_eq!(figures(&training), "loss 1.2346  examples/s 12,346");
    }

    #[test]
    fn wide_and_hostile_text_keeps_its_columns() {
        assert_eq!(fit("한국어 문장", 6).width(), 5);
        assert_eq!(fit("short", 10), "short");
        assert_eq!(safe("a\u{1b}[31mb\u{202e}"), "a\u{fffd}[31mb\u{fffd}");
        let row = |cells: [&str; 4]| cells.map(String::from).to_vec();
        let rows = [row(["a", "한글", "22", "3"]), row(["long", "1", "2", "333"])];
        assert_eq!(fit_table(&rows, 20), table(&rows));
        assert_eq!(fit_table(&rows, 14), "a     한글  22\nlong     1   2\n\na       3\nlong  333\n");
        assert_eq!(wrap("한글 and a long-word\nb\n", 8), "한글 and\na\nlong-word\nb\n");
        assert_eq!(fit_table(&rows, 3).lines().filter(|line| line.starts_with("long")).count(), 3);
        assert_eq!(table(&[vec!["이름".into(), "1".into()], vec!["ab".into(), "22".into()]]), "이름   1\nab    22\n");
    }
}
