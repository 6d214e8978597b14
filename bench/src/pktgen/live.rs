//! What is seen while a run goes on: a view that fills the terminal, or a line a second where there is none.

use super::engine::Live;
use super::report::{bits, packets, time};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Sparkline};
use ratatui::{DefaultTerminal, Frame};
use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

/// Seconds that the view remembers.
const HISTORY: usize = 240;

/// Shows a run.
#[derive(Debug)]
pub enum View {
    /// A line a second on standard error.
    Lines,
    /// The terminal.
    Terminal(Box<Terminal>),
    /// Nothing.
    Silent,
}

/// A view that fills the terminal. Dropped, it gives the terminal back.
#[derive(Debug)]
pub struct Terminal {
    terminal: DefaultTerminal,
    title: String,
    sent: VecDeque<u64>,
    received: VecDeque<u64>,
}

impl View {
    /// A view on the terminal.
    ///
    /// # Errors
    /// When the terminal does not do it.
    pub fn terminal(title: String) -> std::io::Result<View> {
        let terminal = ratatui::try_init()?;
        let view = Terminal { terminal, title, sent: VecDeque::new(), received: VecDeque::new() };
        Ok(View::Terminal(Box::new(view)))
    }

    /// Shows the last second. True when somebody pressed `q` or Ctrl-C: in this view the terminal sends no signal.
    pub fn show(&mut self, live: &Live<'_>) -> bool {
        match self {
            View::Silent => false,
            View::Lines => {
                // A line that cannot be written is no reason to end a measurement.
                let _ = writeln!(std::io::stderr(), "{}", line(live));
                false
            }
            View::Terminal(terminal) => {
                terminal.show(live);
                terminal.wants_to_end()
            }
        }
    }
}

/// One second in one line.
pub fn line(live: &Live<'_>) -> String {
    let Rates { tx, tx_bits, rx, rx_bits } = Rates::of(live);
    let mut text = format!(
        "{:>4} s  sent {} ({}), received {} ({})",
        live.elapsed.as_secs(),
        packets(tx),
        bits(tx_bits),
        packets(rx),
        bits(rx_bits)
    );
    if let Some(missing) = live.missing {
        text += &format!(", not yet here {missing}");
    }
    if !live.latency.is_empty() {
        let at = |quantile| time(live.latency.value_at_quantile(quantile) as f64);
        text += &format!(", latency p50 {} p99 {}", at(0.5), at(0.99));
    }
    if live.waiting {
        text += ", waiting for the last";
    }
    text
}

struct Rates {
    tx: f64,
    tx_bits: f64,
    rx: f64,
    rx_bits: f64,
}

impl Rates {
    fn of(live: &Live<'_>) -> Rates {
        let (numbers, time) = &live.interval;
        let rate = |amount: u64| amount as f64 / time.as_secs_f64().max(1e-9);
        Rates {
            tx: rate(numbers.tx_frames),
            tx_bits: rate(numbers.tx_bytes * 8),
            rx: rate(numbers.rx_frames),
            rx_bits: rate(numbers.rx_bytes * 8),
        }
    }
}

impl Terminal {
    fn show(&mut self, live: &Live<'_>) {
        let rates = Rates::of(live);
        for (history, rate) in [(&mut self.sent, rates.tx), (&mut self.received, rates.rx)] {
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(rate as u64);
        }
        let Terminal { terminal, title, sent, received } = self;
        // A picture that cannot be drawn is no reason to end a measurement.
        let _ = terminal.draw(|frame| draw(frame, title, live, &rates, sent, received));
    }

    fn wants_to_end(&self) -> bool {
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let Ok(Event::Key(key)) = event::read() else { continue };
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupt || key.code == KeyCode::Char('q') {
                return true;
            }
        }
        false
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn draw(
    frame: &mut Frame<'_>,
    title: &str,
    live: &Live<'_>,
    rates: &Rates,
    sent: &mut VecDeque<u64>,
    received: &mut VecDeque<u64>,
) {
    let parts = [Constraint::Length(3), Constraint::Min(4), Constraint::Min(4), Constraint::Length(6)];
    let [head, top, middle, bottom] = Layout::vertical(parts).areas(frame.area());
    let state = if live.waiting { "waiting for the last frames" } else { "running" };
    let line = Line::from(format!("{title}   {state}, {} s   q ends it", live.elapsed.as_secs()));
    frame.render_widget(Paragraph::new(line.bold()).block(Block::bordered().title("flumen-pktgen")), head);
    let graphs = [
        (top, sent, format!("sent {}, {}", packets(rates.tx), bits(rates.tx_bits)), Style::new().cyan()),
        (
            middle,
            received,
            format!("received {}, {}", packets(rates.rx), bits(rates.rx_bits)),
            Style::new().green(),
        ),
    ];
    for (area, history, title, style) in graphs {
        let history = history.make_contiguous();
        let width = usize::from(area.width.saturating_sub(2));
        let shown = &history[history.len().saturating_sub(width)..];
        frame.render_widget(
            Sparkline::default().data(shown).style(style).block(Block::bordered().title(title)),
            area,
        );
    }
    let total = &live.total;
    let mut lines = vec![Line::from(format!(
        "sent {}   received {}   marked {}",
        total.tx_frames, total.rx_frames, total.unique
    ))];
    if let Some(missing) = live.missing {
        lines.push(Line::from(format!("not yet here {missing}")));
    }
    if !live.latency.is_empty() {
        let at = |quantile| time(live.latency.value_at_quantile(quantile) as f64);
        lines.push(Line::from(format!(
            "latency of the last second: p50 {}  p90 {}  p99 {}  p99.9 {}  most {}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        )));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("in all")), bottom);
}

#[cfg(test)]
mod tests {
    use super::super::engine::Numbers;
    use super::super::latency::histogram;
    use super::*;
    use ratatui::backend::TestBackend;

    fn live(latency: &hdrhistogram::Histogram<u64>) -> Live<'_> {
        let total = Numbers {
            tx_frames: 3_000,
            tx_bytes: 192_000,
            rx_frames: 2_990,
            rx_bytes: 191_360,
            unique: 2_990,
        };
        let interval = (Numbers { tx_frames: 1_000, tx_bytes: 64_000, ..total }, Duration::from_secs(1));
        Live { elapsed: Duration::from_secs(3), total, interval, latency, waiting: false, missing: Some(10) }
    }

    #[test]
    fn a_second_is_a_line_with_rates_what_is_missing_and_latency() {
        let mut latency = histogram();
        latency.record(25_000).unwrap();
        let text = line(&live(&latency));
        assert!(text.contains("sent 1.0 kpps (512.0 kbit/s)"), "{text}");
        assert!(text.contains("not yet here 10") && text.contains("p50 25.0 us"), "{text}");
    }

    #[test]
    fn the_view_fits_terminals_of_any_size() {
        let latency = histogram();
        let rates = Rates::of(&live(&latency));
        for (width, height) in [(120, 40), (80, 24), (20, 5), (1, 1)] {
            let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).unwrap();
            let (mut sent, mut received) = (VecDeque::from(vec![1; 300]), VecDeque::from([5]));
            terminal
                .draw(|frame| draw(frame, "x", &live(&latency), &rates, &mut sent, &mut received))
                .unwrap();
            let text = format!("{:?}", terminal.backend().buffer());
            assert!(width < 80 || text.contains("sent 1.0 kpps"), "{text}");
        }
    }
}
