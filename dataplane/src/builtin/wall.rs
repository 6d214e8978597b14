//! The time of day, in the forms that services write it in. The calendar is the Gregorian one, the zone UTC.
//!
//! A worker's clock is monotonic; the time of day is that clock and an offset, which housekeeping corrects:
//! so a service asks no system for the time.

use core::time::Duration;
use flumen_stack::Instant;

/// Where the monotonic clock's origin lies in the time of day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wall {
    origin: i128,
}

impl Wall {
    /// It was `unix` after 1970 at `now`.
    pub fn at(now: Instant, unix: Duration) -> Wall {
        Wall { origin: unix.as_nanos() as i128 - i128::from(now.nanos()) }
    }

    /// Seconds since 1970 at `now`; none before.
    #[inline]
    pub fn seconds(self, now: Instant) -> u64 {
        let nanos = self.origin + i128::from(now.nanos());
        u64::try_from(nanos).unwrap_or(0) / 1_000_000_000
    }
}

const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment in the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// As people count them.
    pub year: u64,
    month: usize,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    weekday: usize,
}

impl Date {
    /// The date of a number of seconds since 1970.
    pub fn of(unix: u64) -> Date {
        let (days, second) = (unix / 86_400, unix % 86_400);
        // Count from 1 March of the year 0, so that a leap day is the last of its year; 400 years repeat.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12;
        Date {
            year: year_of_era + era * 400 + u64::from(month < 2),
            month: month as usize,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: (days % 7) as usize,
        }
    }

    /// As RFC 9110 section 5.6.7 wants it: `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn http(&self) -> [u8; HTTP_DATE] {
        let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        let (weekday, month) = (WEEKDAYS[self.weekday].as_bytes(), MONTHS[self.month].as_bytes());
        out[..3].copy_from_slice(&weekday[..3]);
        digits(&mut out[5..7], self.day);
        out[8..11].copy_from_slice(&month[..3]);
        digits(&mut out[12..16], self.year);
        digits(&mut out[17..19], self.hour);
        digits(&mut out[20..22], self.minute);
        digits(&mut out[23..25], self.second);
        out
    }

    /// As RFC 867 shows it: `Monday, February 22, 1982 17:37:43-UTC` and the end of the line.
    pub fn daytime(&self) -> arrayvec::ArrayString<64> {
        let mut line = arrayvec::ArrayString::new();
        // The longest is 46 bytes.
        let _ = core::fmt::write(
            &mut line,
            format_args!(
                "{}, {} {}, {} {:02}:{:02}:{:02}-UTC\r\n",
                WEEKDAYS[self.weekday],
                MONTHS[self.month],
                self.day,
                self.year,
                self.hour,
                self.minute,
                self.second
            ),
        );
        line
    }
}

/// Bytes of a date in HTTP.
pub const HTTP_DATE: usize = 29;

/// Writes the last decimal digits of `number`, as many as there is room for.
pub fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(unix: u64) -> String {
        String::from_utf8(Date::of(unix).http().to_vec()).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(http(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT", "2100 is no leap year");
        assert_eq!(http(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 GMT");
        assert_eq!(&*Date::of(383_247_463).daytime(), "Monday, February 22, 1982 17:37:43-UTC\r\n");
    }

    #[test]
    fn days_follow_each_other_for_500_years() {
        let mut before = Date::of(0);
        for day in 1..500 * 365u64 {
            let date = Date::of(day * 86_400 + 86_399);
            assert_eq!((date.hour, date.minute, date.second), (23, 59, 59));
            assert_eq!(date.weekday, (before.weekday + 1) % 7);
            let follows = match date.day {
                1 if date.month == 0 => (before.month, before.day, before.year + 1) == (11, 31, date.year),
                1 => before.month + 1 == date.month && before.day >= 28 && before.year == date.year,
                _ => (before.day + 1, before.month, before.year) == (date.day, date.month, date.year),
            };
            assert!(follows, "{before:?} and then {date:?}");
            before = date;
        }
    }

    #[test]
    fn the_offset_moves_the_time_of_day_and_nothing_else() {
        let wall = Wall::at(Instant::from_millis(5000), Duration::from_secs(1000));
        assert_eq!(wall.seconds(Instant::from_millis(5000)), 1000);
        assert_eq!(wall.seconds(Instant::from_millis(5999)), 1000);
        assert_eq!(wall.seconds(Instant::from_millis(6000)), 1001);
        assert_eq!(Wall::at(Instant::from_millis(5000), Duration::ZERO).seconds(Instant::ZERO), 0);
    }
}
