//! Tests that mostly wait do so at the same time: the harness would let them wait two by two.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;

/// What a test does, and by what name it is known here.
pub(crate) type Story = (&'static str, fn());

/// A story that has begun.
type Begun = (&'static str, Mutex<Option<JoinHandle<()>>>);

static UNDER_WAY: OnceLock<Vec<Begun>> = OnceLock::new();

/// Begins all stories of `SLOW`, unless that is done already, and waits for the end of the one called `name`.
pub(crate) fn live_through(name: &str) {
    let begin = |&(name, story): &Story| (name, Mutex::new(Some(std::thread::spawn(story))));
    let stories = UNDER_WAY.get_or_init(|| crate::SLOW.iter().map(begin).collect());
    let (_, story) = stories.iter().find(|(known, _)| *known == name).expect("SLOW knows every story");
    let story = story.lock().expect("nobody panics with it").take().expect("a test runs once");
    story.join().unwrap_or_else(|why| resume_unwind(in_words(why)));
}

/// What the harness shows of a panic, whose own words went to whichever test began the story.
fn in_words(why: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    let words =
        why.downcast_ref::<String>().cloned().or_else(|| why.downcast_ref::<&str>().map(|words| words.to_string()));
    eprintln!("{}", words.as_deref().unwrap_or("it panicked, and did not say why"));
    why
}
