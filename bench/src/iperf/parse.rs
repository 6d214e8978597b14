//! What the programs say, as numbers.

use super::Sample;
use serde_json::Value;

/// iperf3's JSON: what arrived, what was sent again, what was lost.
///
/// # Errors
/// The error that iperf3 reports, or that this is none of its reports.
pub fn iperf3(text: &str) -> Result<Sample, String> {
    let report: Value = serde_json::from_str(text).map_err(|_| "iperf3 gave no JSON".to_owned())?;
    if let Some(error) = report["error"].as_str() {
        return Err(error.to_owned());
    }
    let end = &report["end"];
    let rate = end["sum_received"]["bits_per_second"].as_f64().or(end["sum"]["bits_per_second"].as_f64());
    Ok(Sample {
        rate: rate.ok_or("iperf3 says nothing of what arrived")?,
        retransmits: end["sum_sent"]["retransmits"].as_u64(),
        lost: end["sum"]["lost_percent"].as_f64(),
        milliseconds: end["sum"]["jitter_ms"].as_f64(),
    })
}

/// iperf's lines of values with commas: a line for each stream, and perhaps one, with -1 for a stream, for their sum.
///
/// # Errors
/// When there is no such line.
pub fn iperf2(text: &str) -> Result<Sample, String> {
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let stream: i64 = fields.get(5)?.parse().ok()?;
        let rate: f64 = fields.get(8)?.parse().ok()?;
        (stream >= 0).then_some(rate)
    });
    let rates: Vec<f64> = rows.collect();
    if rates.is_empty() {
        return Err("iperf reported no stream".to_owned());
    }
    Ok(Sample { rate: rates.iter().sum(), retransmits: None, lost: None, milliseconds: None })
}

/// wrk's words: requests a second, and the 99th percentile.
///
/// # Errors
/// When it says neither, or that requests failed.
pub fn wrk(text: &str) -> Result<Sample, String> {
    let after = |word: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(word)).map(|rest| rest.trim().to_owned())
    };
    for wrong in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(rest) = after(wrong) {
            return Err(format!("wrk: {wrong} {rest}"));
        }
    }
    let rate = after("Requests/sec:").and_then(|rest| rest.parse().ok());
    Ok(Sample {
        rate: rate.ok_or("wrk says nothing of requests a second")?,
        retransmits: None,
        lost: None,
        milliseconds: after("99%").and_then(|rest| milliseconds(&rest)),
    })
}

/// wrk's times: `5.53ms`, `870.00us`, `1.20s`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = match text {
        _ if text.ends_with("us") => (text.strip_suffix("us")?, 1e-3),
        _ if text.ends_with("ms") => (text.strip_suffix("ms")?, 1.0),
        _ => (text.strip_suffix('s')?, 1e3),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iperf3_says_what_arrived_and_what_was_sent_again_or_lost() {
        let tcp = r#"{"end":{"sum_sent":{"bits_per_second":9e9,"retransmits":7},"sum_received":{"bits_per_second":8.5e9}}}"#;
        let sample = iperf3(tcp).unwrap();
        assert_eq!((sample.rate, sample.retransmits, sample.lost), (8.5e9, Some(7), None));
        let udp =
            r#"{"end":{"sum":{"bits_per_second":1e7,"jitter_ms":0.06,"lost_percent":1.5},"sum_sent":{}}}"#;
        let sample = iperf3(udp).unwrap();
        assert_eq!((sample.rate, sample.lost, sample.milliseconds), (1e7, Some(1.5), Some(0.06)));
        assert_eq!(iperf3(r#"{"error":"unable to connect"}"#).unwrap_err(), "unable to connect");
        assert!(iperf3("x").is_err() && iperf3("{}").is_err());
    }

    #[test]
    fn streams_of_iperf_are_added_up_and_its_own_sum_is_not() {
        let text = "1970,127.0.0.1,1,127.0.0.1,2,1,0.0-1.0,100,800\n\
                    1970,127.0.0.1,3,127.0.0.1,2,2,0.0-1.1,300,2400\n\
                    1970,127.0.0.1,0,127.0.0.1,2,-1,0.0-1.1,400,3200\n";
        assert_eq!(iperf2(text).unwrap().rate, 3200.0);
        assert!(iperf2("connect failed").is_err());
    }

    #[test]
    fn wrk_says_requests_and_the_ninety_ninth_percentile_and_failures_fail() {
        let text =
            "  Latency Distribution\n     50%    5.53ms\n     99%  870.00us\nRequests/sec:    284.53\n";
        let sample = wrk(text).unwrap();
        assert_eq!((sample.rate, sample.milliseconds), (284.53, Some(0.87)));
        assert_eq!(milliseconds("1.20s"), Some(1200.0));
        let wrong = format!("{text}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(wrk(&wrong).unwrap_err().contains("read 3"));
        assert!(wrk("").is_err());
    }
}
