use ipc_client::limits::MAX_BODY;

use super::*;
use crate::child::{
    group::{Stderr, Stdout},
    guard::Guard,
};

struct Shop {
    keeper: Option<Keeper>,
    quit: Bell,
}

impl Shop {
    fn open(script: &'static str) -> Self {
        let quit = Bell::new().unwrap();
        let recipe = move || Recipe::new("/bin/sh", vec!["sh".into(), "-c".into(), script.into()]);
        Self { keeper: Some(Keeper::start(standing(recipe), quit.clone()).unwrap()), quit }
    }

    fn order(&self, line: &str) -> Answer {
        self.order_within(line, Duration::from_secs(10), &Bell::new().unwrap())
    }

    fn order_within(&self, line: &str, time: Duration, cancel: &Bell) -> Answer {
        let keeper = self.keeper.as_ref().unwrap();
        let until = Some(Instant::now() + time);
        keeper.order(Order { line: line.as_bytes().to_vec(), cancel: cancel.clone(), until })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.quit.ring();
        self.keeper.take().unwrap().join();
    }
}

fn standing(recipe: impl Fn() -> Recipe + Send + 'static) -> Standing {
    Standing {
        recipe: Box::new(recipe),
        surroundings: Surroundings { stdout: Stdout::Pipe, stderr: Stderr::Null, guard: Guard::absent() },
    }
}

fn text(answer: Answer) -> String {
    String::from_utf8(answer.unwrap()).unwrap()
}

#[test]
fn one_worker_answers_line_after_line() {
    let shop = Shop::open("n=0; while read -r x; do n=$((n+1)); echo $n $x; done");
    assert_eq!(text(shop.order("a")), "1 a");
    assert_eq!(text(shop.order("b c")), "2 b c");
    assert_eq!(text(shop.order("")), "3");
}

#[test]
fn a_worker_that_dies_fails_its_call_and_is_started_again() {
    let shop = Shop::open("while read -r x; do [ $x = die ] && exit 7; echo $$ $x; done");
    let first = text(shop.order("a"));
    let failed = format!("{:?}", shop.order("die").unwrap_err());
    assert!(failed.contains("internal") && failed.contains("exited with 7"), "{failed}");
    let second = text(shop.order("a"));
    assert_ne!(first, second);
}

#[test]
fn an_answer_written_just_before_death_counts() {
    let shop = Shop::open("read -r x; echo got $x");
    assert_eq!(text(shop.order("a")), "got a");
    assert_eq!(text(shop.order("b")), "got b");
}

#[test]
fn a_worker_that_keeps_dying_at_once_is_refused_in_the_end() {
    let shop = Shop::open("exit 3");
    let refused = (0..10).map(|_| shop.order("a").unwrap_err()).find(|failed| format!("{failed:?}").contains("busy"));
    assert!(format!("{refused:?}").contains("exited with 3"), "{refused:?}");
}

#[test]
fn a_cancelled_call_does_not_leave_its_answer_to_the_next() {
    let shop = Shop::open("while read -r x; do [ $x = slow ] && sleep 60; echo $x; done");
    let cancel = Bell::new().unwrap();
    cancel.ring();
    assert_eq!(shop.order_within("slow", Duration::from_secs(10), &cancel), Err(verdict::of_stop(Stop::Cancelled)));
    assert_eq!(text(shop.order("next")), "next");
}

#[test]
fn a_call_out_of_time_does_not_leave_its_answer_to_the_next() {
    let shop = Shop::open("while read -r x; do printf half; [ $x = slow ] && sleep 60; echo $x; done");
    let answer = shop.order_within("slow", Duration::from_millis(50), &Bell::new().unwrap());
    assert_eq!(answer, Err(verdict::of_stop(Stop::OutOfTime)));
    assert_eq!(text(shop.order("next")), "halfnext");
}

#[test]
fn a_worker_that_read_the_line_and_wrote_nothing_is_suspected_of_buffering() {
    let shop = Shop::open("while read -r x; do sleep 60; done");
    let failed = shop.order_within("a", Duration::from_millis(300), &Bell::new().unwrap()).unwrap_err();
    assert_eq!(failed, Failed::new(ErrorCode::DEADLINE, SILENT));
}

#[test]
fn a_worker_that_closes_its_output_is_given_up_and_named() {
    let shop = Shop::open("read -r x; exec >&-; sleep 0.1; exit 7");
    let failed = shop.order("a").unwrap_err();
    assert!(failed.text().contains("exited with 7"), "{}", failed.text());
    let shop = Shop::open("read -r x; exec >&-; sleep 60");
    let failed = shop.order("a").unwrap_err();
    assert!(failed.text().contains("killed"), "{}", failed.text());
}

#[test]
fn of_two_lines_neither_is_taken_for_the_answer() {
    let shop = Shop::open("while read -r x; do printf '%s\nmore\n' $x; done");
    let failed = format!("{:?}", shop.order("a").unwrap_err());
    assert!(failed.contains("no call had asked for"), "{failed}");
}

#[test]
fn a_greeting_is_not_taken_for_an_answer() {
    let shop = Shop::open("sleep 0.1; echo welcome; sleep 60");
    let failed = format!("{:?}", shop.order("a").unwrap_err());
    assert!(failed.contains("no call had asked for"), "{failed}");
}

#[test]
fn a_line_over_the_limit_is_refused() {
    let shop = Shop::open("while read -r x; do [ $x = big ] && head -c 1048577 /dev/zero; echo $x; done");
    assert_eq!(shop.order("big"), Err(verdict::too_large()));
    assert_eq!(text(shop.order("next")), "next");
}

#[test]
fn a_long_line_goes_both_ways() {
    let shop = Shop::open("exec cat");
    let line = "x".repeat(MAX_BODY as usize);
    assert_eq!(text(shop.order(&line)), line);
}

#[test]
fn a_command_that_cannot_start_is_refused_in_the_end() {
    let quit = Bell::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let keeper = Keeper::start(standing(move || Recipe::new(&missing, vec![])), quit.clone()).unwrap();
    let shop = Shop { keeper: Some(keeper), quit };
    let refused = (0..10).map(|_| shop.order("a").unwrap_err()).find(|failed| format!("{failed:?}").contains("busy"));
    assert!(format!("{refused:?}").contains("could not be started"), "{refused:?}");
}
