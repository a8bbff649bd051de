use proptest::prelude::*;

use super::*;

/// Minutes since the Unix epoch.
fn minute(year: i64, month: u32, day: u32, hour: i64, minute: i64) -> i64 {
    // Counted from the first of January 1970, without the algorithm under test.
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let of_years: i64 = (1970..year)
        .map(|year| 365 + i64::from(is_leap(year)))
        .sum();
    let lengths = [
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let of_months: i64 = lengths.iter().take(month as usize - 1).sum();
    ((of_years + of_months + i64::from(day) - 1) * 24 + hour) * 60 + minute
}

/// The days of 2026's months on which an expression is due, as `(month, day)`.
fn days(text: &str, months: std::ops::RangeInclusive<u32>) -> Vec<(u32, u32)> {
    let cron: Cron = text.parse().unwrap();
    let year = minute(2026, 1, 1, 0, 0) / MINUTES_PER_DAY;
    (year..year + 365)
        .map(Date::of)
        .filter(|date| months.contains(&date.month) && cron.is_on(date))
        .map(|date| (date.month, date.day))
        .collect()
}

#[test]
fn times_are_in_utc_and_to_the_minute() {
    let cron: Cron = "30 5,17 * * *".parse().unwrap();
    assert!(cron.is_due(minute(2026, 11, 27, 5, 30)));
    assert!(cron.is_due(minute(2026, 11, 28, 17, 30)));
    assert!(!cron.is_due(minute(2026, 11, 27, 5, 31)));
    assert!(!cron.is_due(minute(2026, 11, 27, 6, 30)));
    assert_eq!(cron.to_string(), "30 5,17 * * *");
    assert!("0 0 1 1 *".parse::<Cron>().unwrap().is_due(0), "the epoch");
}

#[test]
fn ranges_steps_and_lists() {
    let minutes = |text: &str| {
        let set = MINUTES.list(text).unwrap();
        (0..64).filter(|n| has(set, *n)).collect::<Vec<_>>()
    };
    assert_eq!(minutes("*/20"), [0, 20, 40]);
    assert_eq!(minutes("50/4"), [50, 54, 58]);
    assert_eq!(minutes("1-9/4"), [1, 5, 9]);
    assert_eq!(minutes("58-1"), [0, 1, 58, 59], "around the end");
    assert_eq!(minutes("56-4/3"), [2, 56, 59]);
    assert_eq!(minutes("3,1-2,57/2"), [1, 2, 3, 57, 59]);
    assert_eq!(minutes("*"), (0..60).collect::<Vec<_>>());
    assert_eq!(MONTHS.list("jan,Nov-DEC"), MONTHS.list("1,11,12"));
    assert_eq!(WEEKDAYS.list("SUN"), WEEKDAYS.list("1"));
    assert_eq!(WEEKDAYS.list("FRI-MON"), WEEKDAYS.list("6,7,1,2"));
}

#[test]
fn days_of_the_month() {
    assert_eq!(
        days("0 0 L * *", 1..=4),
        [(1, 31), (2, 28), (3, 31), (4, 30)]
    );
    assert_eq!(days("0 0 L-3 * *", 1..=2), [(1, 28), (2, 25)]);
    assert_eq!(
        days("0 0 L-30 * *", 1..=4),
        [(1, 1), (3, 1)],
        "others are too short"
    );
    // 2026: the 31st of January is a Saturday, the 28th of February, too; the 31st of May is a Sunday.
    assert_eq!(
        days("0 0 LW * *", 1..=5),
        [(1, 30), (2, 27), (3, 31), (4, 30), (5, 29)]
    );
    // The 1st of February is a Sunday, that of August a Saturday, the 15th of February a Sunday.
    assert_eq!(days("0 0 1W 2,8 *", 1..=12), [(2, 2), (8, 3)]);
    assert_eq!(days("0 0 15W 1-3 *", 1..=12), [(1, 15), (2, 16), (3, 16)]);
    assert_eq!(days("0 0 31W 4,5 *", 1..=12), [(5, 29)]);
    assert_eq!(days("0 0 L-2W 5 *", 1..=12), [(5, 29)]);
    assert_eq!(days("0 0 31 * *", 1..=4), [(1, 31), (3, 31)]);
}

#[test]
fn days_of_the_week() {
    // The 1st of January 2026 is a Thursday.
    assert_eq!(days("0 0 * 1 5", 1..=1)[..2], [(1, 1), (1, 8)]);
    assert_eq!(days("0 0 * 1 MON#2", 1..=1), [(1, 12)]);
    assert_eq!(days("0 0 * 1 THU#5", 1..=1), [(1, 29)]);
    assert_eq!(days("0 0 * 2 THU#5", 1..=12), []);
    assert_eq!(days("0 0 * * 6L", 1..=2), [(1, 30), (2, 27)]);
    assert_eq!(days("0 0 * 2 L", 1..=12), days("0 0 * 2 SAT", 1..=12));
    let both = [(1, 2), (1, 5), (1, 12), (1, 19), (1, 26)];
    assert_eq!(days("0 0 2 1 MON", 1..=1), both, "one of the two is enough");
}

#[test]
fn what_cannot_be_read_says_which_field_it_is() {
    let said = |text: &str| text.parse::<Cron>().unwrap_err().to_string();
    assert!(
        said("* * * *").ends_with("this one has 4"),
        "{}",
        said("* * * *")
    );
    assert!(said("").ends_with("this one has 0"));
    assert!(said("0 * * * * *").ends_with("this one has 6"));
    for (text, field) in [
        ("60 * * * *", "minutes \"60\""),
        ("*/0 * * * *", "minutes \"*/0\""),
        ("*/60 * * * *", "minutes \"*/60\""),
        ("1,,2 * * * *", "minutes \"1,,2\""),
        ("+1 * * * *", "minutes \"+1\""),
        ("* 24 * * *", "hours \"24\""),
        ("* 1- * * *", "hours \"1-\""),
        ("* * 0 * *", "days of the month \"0\""),
        ("* * L-31 * *", "days of the month \"L-31\""),
        ("* * W * *", "days of the month \"W\""),
        ("* * 1W,2 * *", "days of the month \"1W,2\""),
        ("* * ? * *", "days of the month \"?\""),
        ("* * * 13 *", "months \"13\""),
        ("* * * JUNE *", "months \"JUNE\""),
        ("* * * * 0", "days of the week \"0\""),
        ("* * * * 8", "days of the week \"8\""),
        ("* * * * MON#6", "days of the week \"MON#6\""),
        ("* * * * #1", "days of the week \"#1\""),
    ] {
        assert!(said(text).contains(field), "{text}: {}", said(text));
    }
}

#[test]
fn the_calendar_goes_on_day_by_day() {
    let mut before = Date::of(minute(1999, 12, 31, 0, 0) / MINUTES_PER_DAY);
    assert_eq!((before.month, before.day, before.weekday), (12, 31, 6));
    let (mut leap_days, first) = (0, minute(2000, 1, 1, 0, 0) / MINUTES_PER_DAY);
    for day in first..first + 146_097 {
        let date = Date::of(day);
        let expected = if before.day < before.last {
            (before.month, before.day + 1)
        } else {
            (before.month % 12 + 1, 1)
        };
        assert_eq!((date.month, date.day), expected, "day {day}");
        assert_eq!(date.weekday, before.weekday % 7 + 1);
        leap_days += u32::from((date.month, date.day) == (2, 29));
        before = date;
    }
    assert_eq!(leap_days, 97, "in 400 years");
}

#[test]
fn the_next_time_may_be_decades_away_or_never() {
    let next = |text: &str, minute| text.parse::<Cron>().unwrap().next_after(minute);
    // 1970-01-01T00:00Z is the minute 0.
    assert_eq!(next("* * * * *", 0), Some(1));
    assert_eq!(next("0 0 * * *", 0), Some(MINUTES_PER_DAY));
    assert_eq!(next("0 0 * * *", -1), Some(0));
    let leap = minute(2096, 2, 29, 0, 0);
    assert_eq!(next("0 0 29 2 *", leap), Some(minute(2104, 2, 29, 0, 0)));
    assert_eq!(next("0 0 31 2 *", 0), None);
}

fn a_set(field: &'static Field) -> impl Strategy<Value = String> {
    let values = field.least..=field.most;
    let part = (
        values.clone(),
        values,
        1..=field.most - field.least,
        0..5_u8,
    );
    let part = part.prop_map(|(a, b, step, form)| match form {
        0 => format!("{a}"),
        1 => format!("{a}-{b}"),
        2 => format!("{a}-{b}/{step}"),
        3 => format!("{a}/{step}"),
        _ => format!("*/{step}"),
    });
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(","))
}

proptest! {
    /// Each field is judged by itself, whatever the others are: days are due in all minutes of all hours that fit.
    #[test]
    fn an_expression_is_due_where_each_field_has_the_time(
        minutes in a_set(&MINUTES), hours in a_set(&HOURS), months in a_set(&MONTHS), time in 0..100_000_000_i64,
    ) {
        let cron: Cron = format!("{minutes} {hours} * {months} *").parse().unwrap();
        let date = Date::of(time / MINUTES_PER_DAY);
        let of_day = u32::try_from(time % MINUTES_PER_DAY).unwrap();
        let alone = |text: String| text.parse::<Cron>().unwrap();
        let expected = alone(format!("{minutes} * * * *")).is_due(time)
            && alone(format!("* {hours} * * *")).is_due(time)
            && alone(format!("* * * {months} *")).is_due(time);
        prop_assert_eq!(cron.is_due(time), expected);
        prop_assert!(of_day < 1440 && (1..=date.last).contains(&date.day));
    }

    /// What stands for a nearest weekday is one, in the same month, and nearer than any other.
    #[test]
    fn the_nearest_weekday_is_the_nearest(start in -100_000..100_000_i64, day in 1..=31_u32) {
        let date = Date::of(start);
        let day = day.min(date.last);
        let first = start - i64::from(date.day) + 1;
        let weekday = |n: u32| Date::of(first + i64::from(n) - 1).weekday;
        let found = date.nearest_weekday(day);
        let distance = |n: u32| (n.abs_diff(day), n);
        let expected = (1..=date.last).filter(|n| !matches!(weekday(*n), 1 | 7)).min_by_key(|n| distance(*n));
        prop_assert_eq!(Some(found), expected);
    }

    /// None is left out, and none made up.
    #[test]
    fn the_next_minute_is_the_first_that_is_due(
        minutes in a_set(&MINUTES), hours in a_set(&HOURS), time in -1_000_000..100_000_000_i64,
    ) {
        let cron: Cron = format!("{minutes} {hours} * * *").parse().unwrap();
        let expected = (time + 1..).find(|minute| cron.is_due(*minute));
        prop_assert_eq!(cron.next_after(time), expected);
    }

    /// Any text is read or refused.
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9A-Z*/,#L W-]{0,30}") {
        if let Ok(cron) = text.parse::<Cron>() {
            let _ = cron.is_due(12_345_678);
            prop_assert_eq!(cron.to_string(), text);
        }
    }
}
