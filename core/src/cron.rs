//! Cron expressions, as Cloudflare's Cron Triggers have them: five fields, in UTC.
//!
//! Fields have values, ranges (`9-17`, also around the end: `FRI-MON`), steps (`*/5`, `9-17/2`, `9/2` to the end) and lists
//! of them. Months and days of the week have names, and Sunday is day 1 of the week, Saturday day 7. A day of the month may
//! be `L` (the last one), `L-3` (so many before it), `15W` (the weekday that is nearest to it in the month), `LW` or `L-3W`;
//! one of the week `MONL` (the last Monday of the month), `MON#2` (the second one), or `L` for Saturday. If both are
//! restricted, a day need only fit one of them.
//!
//! No crate that is maintained has this form: Cloudflare's own parser was last released in 2020.

use std::fmt;
use std::str::FromStr;

#[cfg(test)]
mod tests;

const MINUTES_PER_DAY: i64 = 24 * 60;
/// After so many days, 400 years, all dates have the days of the week again that they had.
const CALENDAR_DAYS: i64 = 146_097;

/// When something is to be done, to the minute. Displays as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Set,
    hours: Set,
    days: Days,
    months: Set,
    weekdays: Weekdays,
}

/// Why a text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// It has more or fewer than five fields.
    #[error(
        "a cron expression has five fields, minutes, hours, days of the month, months and days of the week, such as \
         \"*/5 * * * *\"; this one has {0}"
    )]
    Fields(usize),
    /// A field is wrong.
    #[error("the {field} \"{text}\" cannot be read: {wanted}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it has.
        text: String,
        /// What it may have.
        wanted: &'static str,
    },
}

/// Small numbers, each a bit.
type Set = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    Any,
    Of(Set),
    /// So many days before the month's last, or the weekday nearest to that.
    Last {
        before: u32,
        weekday: bool,
    },
    /// The weekday nearest to this day.
    Nearest(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weekdays {
    Any,
    Of(Set),
    /// The month's nth.
    Nth(u32, u32),
    /// The month's last.
    Last(u32),
}

/// What a field may have.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names of the values, from the least.
    names: &'static [&'static str],
    wanted: &'static str,
}

const MINUTES: Field = Field {
    name: "minutes",
    least: 0,
    most: 59,
    names: &[],
    wanted: "they are from 0 to 59",
};
const HOURS: Field = Field {
    name: "hours",
    least: 0,
    most: 23,
    names: &[],
    wanted: "they are from 0 to 23",
};
const DAYS: Field = Field {
    name: "days of the month",
    least: 1,
    most: 31,
    names: &[],
    wanted: "they are from 1 to 31, or one of L, L-3, 15W, LW",
};
const MONTHS: Field = Field {
    name: "months",
    least: 1,
    most: 12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
    wanted: "they are from 1 to 12, or JAN to DEC",
};
const WEEKDAYS: Field = Field {
    name: "days of the week",
    least: 1,
    most: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    wanted: "they are from 1, Sunday, to 7, or SUN to SAT, or one of MONL, MON#2",
};

impl Field {
    fn invalid(&self, text: &str) -> InvalidCron {
        InvalidCron::Field {
            field: self.name,
            text: text.to_owned(),
            wanted: self.wanted,
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let mut values = (self.least..).zip(self.names);
        if let Some((value, _)) = values.find(|(_, name)| name.eq_ignore_ascii_case(text)) {
            return Some(value);
        }
        number(text).filter(|value| (self.least..=self.most).contains(value))
    }

    /// A step may not be longer than the way from the first value to the last.
    fn step(&self, text: &str) -> Option<usize> {
        let step = number(text).filter(|step| (1..=self.most - self.least).contains(step));
        step.and_then(|step| usize::try_from(step).ok())
    }

    fn list(&self, text: &str) -> Result<Set, InvalidCron> {
        text.split(',').try_fold(0, |all, part| {
            let part = self.part(part).ok_or_else(|| self.invalid(text))?;
            Ok(all | part)
        })
    }

    fn part(&self, text: &str) -> Option<Set> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if range == "*" => (self.least, self.most),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.most } else { value })
            }
        };
        let step = step.unwrap_or(1);
        let set = |values: &mut dyn Iterator<Item = u32>| values.fold(0, |set, n| set | 1 << n);
        Some(if first <= last {
            set(&mut (first..=last).step_by(step))
        } else {
            set(&mut (first..=self.most).chain(self.least..=last).step_by(step))
        })
    }
}

fn number(text: &str) -> Option<u32> {
    let is_number = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl Days {
    fn read(text: &str) -> Result<Self, InvalidCron> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (day, weekday) = match text.strip_suffix('W') {
            Some(day) => (day, true),
            None => (text, false),
        };
        if day == "L" {
            return Ok(Self::Last { before: 0, weekday });
        }
        if let Some(before) = day.strip_prefix("L-") {
            let before = number(before).filter(|before| (1..=30).contains(before));
            let before = before.ok_or_else(|| DAYS.invalid(text))?;
            return Ok(Self::Last { before, weekday });
        }
        if weekday {
            let day = DAYS.value(day).ok_or_else(|| DAYS.invalid(text))?;
            return Ok(Self::Nearest(day));
        }
        DAYS.list(text).map(Self::Of)
    }

    fn has(self, date: &Date) -> bool {
        match self {
            Self::Any => true,
            Self::Of(days) => has(days, date.day),
            Self::Last { before, weekday } => match date.last.checked_sub(before) {
                None | Some(0) => false, // the month is too short
                Some(day) if weekday => date.nearest_weekday(day) == date.day,
                Some(day) => day == date.day,
            },
            Self::Nearest(day) => day <= date.last && date.nearest_weekday(day) == date.day,
        }
    }
}

impl Weekdays {
    fn read(text: &str) -> Result<Self, InvalidCron> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text == "L" {
            return Ok(Self::Of(1 << WEEKDAYS.most));
        }
        let value = |day| WEEKDAYS.value(day).ok_or_else(|| WEEKDAYS.invalid(text));
        if let Some(day) = text.strip_suffix('L') {
            return value(day).map(Self::Last);
        }
        if let Some((day, nth)) = text.split_once('#') {
            let nth = number(nth).filter(|nth| (1..=5).contains(nth));
            return Ok(Self::Nth(
                value(day)?,
                nth.ok_or_else(|| WEEKDAYS.invalid(text))?,
            ));
        }
        WEEKDAYS.list(text).map(Self::Of)
    }

    fn has(self, date: &Date) -> bool {
        match self {
            Self::Any => true,
            Self::Of(days) => has(days, date.weekday),
            Self::Nth(day, nth) => day == date.weekday && date.day.div_ceil(7) == nth,
            Self::Last(day) => day == date.weekday && date.day + 7 > date.last,
        }
    }
}

fn has(set: Set, number: u32) -> bool {
    set & 1 << number != 0
}

impl Cron {
    /// Whether it is due in this minute, counted from the Unix epoch.
    #[must_use]
    pub fn is_due(&self, minute: i64) -> bool {
        self.has_time(minute) && self.is_on(&Date::of(minute.div_euclid(MINUTES_PER_DAY)))
    }

    /// The first minute after this one in which it is due, both counted from the Unix epoch. Nothing if there is none: it is for
    /// a day that no year has.
    #[must_use]
    pub fn next_after(&self, minute: i64) -> Option<i64> {
        let first = minute + 1;
        let today = first.div_euclid(MINUTES_PER_DAY);
        let days = (today..=today + CALENDAR_DAYS).filter(|day| self.is_on(&Date::of(*day)));
        days.map(|day| day * MINUTES_PER_DAY).find_map(|begin| {
            (begin.max(first)..begin + MINUTES_PER_DAY).find(|minute| self.has_time(*minute))
        })
    }

    fn has_time(&self, minute: i64) -> bool {
        let of_day = u32::try_from(minute.rem_euclid(MINUTES_PER_DAY)).unwrap_or_default();
        has(self.minutes, of_day % 60) && has(self.hours, of_day / 60)
    }

    fn is_on(&self, date: &Date) -> bool {
        let fits = match (self.days, self.weekdays) {
            (Days::Any, weekdays) => weekdays.has(date),
            (days, Weekdays::Any) => days.has(date),
            (days, weekdays) => days.has(date) || weekdays.has(date),
        };
        fits && has(self.months, date.month)
    }
}

impl FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = *fields else {
            return Err(InvalidCron::Fields(fields.len()));
        };
        Ok(Self {
            minutes: MINUTES.list(minutes)?,
            hours: HOURS.list(hours)?,
            days: Days::read(days)?,
            months: MONTHS.list(months)?,
            weekdays: Weekdays::read(weekdays)?,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A day of the Gregorian calendar.
#[derive(Debug)]
struct Date {
    month: u32,
    day: u32,
    /// The month's last day.
    last: u32,
    /// 1 is Sunday.
    weekday: u32,
}

impl Date {
    /// `day` counts from the Unix epoch, which was a Thursday.
    fn of(day: i64) -> Self {
        // Years begin in March here: what is not regular, February's end, is the last day then. Hinnant's algorithm
        // (http://howardhinnant.github.io/date_algorithms.html#civil_from_days).
        let since = day + 719_468; // 0000-03-01
        let of_era = since.rem_euclid(CALENDAR_DAYS);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (CALENDAR_DAYS - 1)) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day_of_month = of_year - (153 * month + 2) / 5 + 1;
        // The year in which this February ends; centuries count from the era's begin, a multiple of 400.
        let next = year + 1;
        let is_leap = next % 4 == 0 && (next % 100 != 0 || next % 400 == 0);
        let last = match month {
            11 if is_leap => 29,
            11 => 28,
            1 | 3 | 6 | 8 => 30,
            _ => 31,
        };
        let small = |n: i64| u32::try_from(n).unwrap_or_default();
        Self {
            month: small(if month < 10 { month + 3 } else { month - 9 }),
            day: small(day_of_month),
            last,
            weekday: small((day + 4).rem_euclid(7) + 1),
        }
    }

    /// The day of this month that is nearest to one of its days, and neither Saturday nor Sunday.
    fn nearest_weekday(&self, day: u32) -> u32 {
        // Of a multiple of 7, so that it does not go below zero.
        match (self.weekday + 34 + day - self.day) % 7 + 1 {
            7 if day == 1 => 3,
            7 => day - 1,
            1 if day == self.last => day - 2,
            1 => day + 1,
            _ => day,
        }
    }
}
