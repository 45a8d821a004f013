//! Verdicts against a simple model, on a virtual clock.

use proptest::prelude::*;

use super::judge::required_run;
use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: f64 = 1e6;

fn well() -> Observation {
    Observation {
        is_usable: true,
        requests: 1000,
        median_ns: Some(2.0 * MILLISECOND),
        ..Observation::default()
    }
}

fn failing() -> Observation {
    Observation { run: 5, failures: 5, ..well() }
}

fn slow() -> Observation {
    Observation { median_ns: Some(40.0 * MILLISECOND), requests: 30, ..well() }
}

fn is_out(record: &Record) -> bool {
    matches!(record.phase, Phase::Out { .. })
}

fn reason_of(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Eject { reason, .. } => Some(reason),
        _ => None,
    }
}

/// What a backend does between two looks.
#[derive(Debug, Clone, Copy)]
enum Conduct {
    Good,
    Fails,
    Slow,
    Stalls,
    Down,
    Idle,
}

fn conduct() -> impl Strategy<Value = Conduct> {
    prop_oneof![
        3 => Just(Conduct::Good),
        2 => Just(Conduct::Fails),
        1 => Just(Conduct::Slow),
        1 => Just(Conduct::Stalls),
        1 => Just(Conduct::Down),
        1 => Just(Conduct::Idle),
    ]
}

fn observe(one: &mut Observation, conduct: Conduct) {
    one.is_usable = true;
    one.is_stalled = false;
    let on_trial = matches!(one.record.phase, Phase::Trial { .. });
    match conduct {
        Conduct::Good => {
            (one.run, one.requests, one.failures) = (0, 100, 0);
            one.median_ns = Some(2.0 * MILLISECOND);
            one.trial_good += u32::from(on_trial) * 3;
        }
        Conduct::Fails => {
            one.run += 10;
            (one.requests, one.failures, one.median_ns) = (100, 100, Some(MILLISECOND));
        }
        Conduct::Slow => {
            (one.run, one.requests, one.failures) = (0, 100, 0);
            one.median_ns = Some(80.0 * MILLISECOND);
            one.trial_slow += u32::from(on_trial) * 2;
        }
        Conduct::Stalls => one.is_stalled = true,
        Conduct::Down => one.is_usable = false,
        Conduct::Idle => (one.requests, one.failures, one.median_ns) = (0, 0, None),
    }
}

proptest! {
    #[test]
    fn never_too_many_are_out_nor_the_last_and_each_comes_to_trial(
        steps in proptest::collection::vec(proptest::collection::vec(conduct(), 1..8), 1..60),
        max_share in 0.0..1.0f64,
        seconds in 1..20u64,
    ) {
        let config = Config { max_share, ..Config::default() };
        let total = steps[0].len();
        let mut all = vec![Observation::default(); total];
        let mut now = SECOND;
        for step in &steps {
            for (one, conduct) in all.iter_mut().zip(step) {
                observe(one, *conduct);
            }
            let was_out = all.iter().filter(|one| is_out(&one.record)).count();
            let verdicts = judge(&all, &config, now);
            for (one, verdict) in all.iter_mut().zip(verdicts) {
                let before = *one;
                if one.record.apply(verdict, now) {
                    (one.run, one.trial_good, one.trial_slow) = (0, 0, 0);
                }
                match (before.record.phase, verdict) {
                    (Phase::Out { until_ns, .. }, _) if now >= until_ns => {
                        prop_assert_eq!(verdict, Verdict::Try, "a time out ends");
                    }
                    (Phase::Out { .. }, _) => prop_assert_eq!(verdict, Verdict::Stay),
                    (_, Verdict::Eject { until_ns, .. }) => {
                        let out = Duration::from_nanos(until_ns - now);
                        prop_assert_eq!(out, config.time_out(before.record.times + 1), "each time longer");
                        prop_assert!(out >= config.base_time && out <= config.max_time);
                    }
                    _ => {}
                }
            }
            let out = all.iter().filter(|one| is_out(&one.record)).count();
            prop_assert!(out <= was_out || out as f64 <= max_share * total as f64, "{out} of {total} are out");
            let usable = all.iter().filter(|one| one.is_usable).count();
            let left = all.iter().filter(|one| one.is_usable && !is_out(&one.record)).count();
            prop_assert!(out <= was_out || usable == 0 || left > 0, "the last one was put out");
            now += seconds * SECOND;
        }
        // All behave from now on: each comes back, and everything is forgotten.
        for _ in 0..20_000 {
            for one in &mut all {
                observe(one, Conduct::Good);
            }
            let verdicts = judge(&all, &config, now);
            for (one, verdict) in all.iter_mut().zip(verdicts) {
                if one.record.apply(verdict, now) {
                    (one.run, one.trial_good, one.trial_slow) = (0, 0, 0);
                }
            }
            now += 10 * SECOND;
        }
        prop_assert!(all.iter().all(|one| one.record.phase == Phase::In && one.record.times == 0), "{all:?}");
    }
}

#[test]
fn one_of_five_that_fails_is_put_out_after_five_failures() {
    let mut all = [well(); 5];
    all[2] = Observation { run: 4, failures: 4, ..well() };
    assert_eq!(judge_one(&all, 2, &Config::default(), SECOND), Verdict::Stay);
    all[2] = failing();
    let verdict = judge_one(&all, 2, &Config::default(), SECOND);
    assert_eq!(verdict, Verdict::Eject { reason: Reason::ConsecutiveFailures, until_ns: 11 * SECOND });
    assert_eq!(judge(&all, &Config::default(), SECOND)[2], verdict);
}

#[test]
fn one_of_five_that_is_slow_is_put_out_where_deviations_show_nothing() {
    let mut all = [well(); 5];
    all[4] = slow();
    // The others differ a little, as they do: the slow one lies 1.9 deviations out, and Envoy lets it stay.
    for (one, extra) in all.iter_mut().zip([0.0, 4.0, 9.0, 1.0]) {
        one.median_ns = one.median_ns.map(|median| median + extra * MILLISECOND / 2.0);
    }
    let values: Vec<f64> = all.iter().filter_map(|one| one.median_ns).collect();
    let mean = values.iter().sum::<f64>() / 5.0;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 5.0).sqrt();
    assert!((values[4] - mean) / deviation < 2.0);
    let verdicts = judge(&all, &Config::default(), SECOND);
    assert_eq!(reason_of(verdicts[4]), Some(Reason::Latency));
    assert!(verdicts[..4].iter().all(|verdict| *verdict == Verdict::Stay));
}

#[test]
fn a_small_difference_is_left_to_selection() {
    let mut all = [well(); 5];
    all[0].median_ns = Some(8.0 * MILLISECOND);
    assert_eq!(judge(&all, &Config::default(), SECOND)[0], Verdict::Stay, "4 times is not 5");
    for one in &mut all {
        one.median_ns = Some(0.1 * MILLISECOND);
    }
    all[0].median_ns = Some(MILLISECOND);
    assert_eq!(judge(&all, &Config::default(), SECOND)[0], Verdict::Stay, "a millisecond hurts nobody");
}

#[test]
fn of_two_nobody_can_tell_which_is_slow() {
    assert_eq!(judge(&[well(), slow()], &Config::default(), SECOND), [Verdict::Stay; 2]);
}

#[test]
fn when_all_fail_none_is_put_out() {
    let together = [Observation { failures: 900, run: 40, ..well() }; 5];
    assert_eq!(judge(&together, &Config::default(), SECOND), [Verdict::Stay; 5]);
    // In the first instant the window still shows what was before.
    let first = [failing(); 5];
    assert_eq!(judge_one(&first, 0, &Config::default(), SECOND), Verdict::Stay);
}

#[test]
fn a_run_proves_little_where_others_fail_often() {
    assert_eq!(required_run(5, 0.0), 5);
    assert_eq!(required_run(5, 0.2), 13);
    assert_eq!(required_run(5, 0.5), 30);
    assert_eq!(required_run(5, 1.0), u32::MAX);
    let others = Observation { failures: 200, ..well() };
    let mut all = [others; 5];
    all[0].run = 6;
    assert_eq!(judge_one(&all, 0, &Config::default(), SECOND), Verdict::Stay);
    all[0].run = 13;
    assert_eq!(reason_of(judge_one(&all, 0, &Config::default(), SECOND)), Some(Reason::ConsecutiveFailures));
}

#[test]
fn a_failure_on_trial_is_enough_and_good_answers_end_it() {
    let mut all = [well(); 5];
    all[1].record =
        Record { phase: Phase::Trial { reason: Reason::FailureRate }, times: 2, since_ns: SECOND };
    assert_eq!(judge_one(&all, 1, &Config::default(), SECOND), Verdict::Stay);
    all[1].run = 1;
    let again = judge_one(&all, 1, &Config::default(), SECOND);
    assert_eq!(again, Verdict::Eject { reason: Reason::ConsecutiveFailures, until_ns: 31 * SECOND });
    all[1] = Observation { run: 0, trial_good: 3, ..all[1] };
    assert_eq!(judge_one(&all, 1, &Config::default(), SECOND), Verdict::Return);
}

#[test]
fn a_backend_that_stays_slow_is_tried_less_and_less() {
    let config = Config::default();
    let mut all = [well(); 5];
    let (mut now, mut trials, mut out_ns) = (SECOND, 0, 0);
    all[4] = slow();
    while now < 3600 * SECOND {
        let on_trial = matches!(all[4].record.phase, Phase::Trial { .. });
        // On trial it gets a request a look, and is as slow as before.
        all[4].trial_slow += u32::from(on_trial);
        let verdict = judge(&all, &config, now)[4];
        trials += u32::from(verdict == Verdict::Try);
        if all[4].record.apply(verdict, now) {
            (all[4].trial_good, all[4].trial_slow) = (0, 0);
            // What was seen in the window before is over.
            all[4].median_ns = None;
        }
        out_ns += u64::from(is_out(&all[4].record)) * SECOND / 10;
        now += SECOND / 10;
    }
    assert!((20..30).contains(&trials), "{trials} trials in an hour");
    assert!(out_ns > 3590 * SECOND, "it was in use for {} s", 3600 - out_ns / SECOND);
}

#[test]
fn the_defaults_are_valid_and_nonsense_is_refused() {
    Config::default().validate("x").unwrap();
    let refuse = |change: fn(&mut Config), key: &str| {
        let mut config = Config::default();
        change(&mut config);
        assert!(config.validate("x").unwrap_err().to_string().starts_with(&format!("x.{key}:")));
    };
    refuse(|config| config.max_share = 1.5, "max_share");
    refuse(|config| config.failure_rate = 0.0, "failure_rate");
    refuse(|config| config.latency_factor = 0.5, "latency_factor");
    refuse(|config| config.window = Duration::from_secs(11), "window");
    refuse(|config| config.max_time = Duration::ZERO, "max_time");
}
