use std::sync::mpsc::{Sender, channel};

use futures::FutureExt;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A thread with a table `t` of its own.
fn thread(patience: Duration) -> Threads {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t (n)").unwrap();
    Threads::start("test", Path::new("t.db"), vec![connection], patience).unwrap()
}

fn insert(connection: &mut Connection) -> Result<usize> {
    Ok(connection.execute("INSERT INTO t VALUES (1)", [])?)
}

fn count(connection: &mut Connection) -> Result<u32> {
    Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
}

/// Occupies the thread until the sender is used or dropped.
fn occupy(threads: &Threads) -> Sender<()> {
    let (release, released) = channel();
    let wait = threads.call(move |_| {
        let _ = released.recv();
        Ok(())
    });
    assert!(wait.now_or_never().is_none());
    release
}

#[tokio::test]
async fn a_panic_is_its_callers_error_and_undone() {
    let thread = thread(PATIENCE);
    let panicking = thread.call::<()>(|connection| {
        let mut transaction = connection.transaction()?;
        transaction.set_drop_behavior(rusqlite::DropBehavior::Rollback);
        transaction.execute("INSERT INTO t VALUES (1)", [])?;
        panic!("in the middle");
    });
    let error = panicking.await.unwrap_err().to_string();
    assert!(error.contains("panicked"), "{error}");
    assert_eq!(thread.call(count).await.unwrap(), 0);
    assert_eq!(thread.call(insert).await.unwrap(), 1);
}

#[tokio::test]
async fn a_transaction_that_is_left_open_is_undone_however_the_work_ended() {
    fn leave_open(connection: &mut Connection) -> Result<usize> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        insert(connection)
    }
    let thread = thread(PATIENCE);
    let successful = thread.call(leave_open).await;
    let failing = thread.call::<()>(|connection| {
        leave_open(connection)?;
        Err(Error::Database("in the middle".into()))
    });
    let failing = failing.await;
    let panicking = thread.call::<()>(|connection| {
        leave_open(connection)?;
        panic!("in the middle");
    });
    let panicking = panicking.await;
    for refused in [successful.err(), failing.err(), panicking.err()] {
        let error = refused.unwrap().to_string();
        assert!(
            error.contains("t.db: a transaction was left open"),
            "{error}"
        );
    }
    assert_eq!(thread.call(count).await.unwrap(), 0);
    assert_eq!(thread.call(insert).await.unwrap(), 1);
}

#[tokio::test]
async fn what_was_asked_for_is_done_though_nobody_waits() {
    let thread = thread(PATIENCE);
    let release = occupy(&thread);
    assert!(thread.call(insert).now_or_never().is_none());
    drop(release);
    assert_eq!(thread.call(count).await.unwrap(), 1);
}

/// A result that harms the thread: nobody takes it, so the thread drops it.
struct Deadly;

impl Drop for Deadly {
    fn drop(&mut self) {
        panic!("dropped by the thread");
    }
}

#[tokio::test]
async fn a_thread_that_ends_is_an_error_for_everybody() {
    let thread = thread(PATIENCE);
    let release = occupy(&thread);
    assert!(thread.call(|_| Ok(Deadly)).now_or_never().is_none());
    let mut waiting = Box::pin(thread.call(insert));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(release);
    for ended in [waiting.await, thread.call(insert).await] {
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("has ended"), "{error}");
    }
}

#[tokio::test]
async fn who_waits_too_long_for_a_turn_is_refused() {
    let patience = Duration::from_millis(50);
    let thread = thread(patience);
    let release = occupy(&thread);
    let mut late = Box::pin(thread.call(insert));
    assert!(late.as_mut().now_or_never().is_none());
    std::thread::sleep(patience * 2);
    drop(release);
    let error = late.await.unwrap_err().to_string();
    assert!(error.contains("had no time"), "{error}");
    assert_eq!(thread.call(count).await.unwrap(), 0);
}

#[test]
fn dropping_does_first_what_was_asked_for() {
    let threads = thread(PATIENCE);
    let release = occupy(&threads);
    let (insert_done, inserted) = channel();
    let asked = threads.call(move |connection| {
        let rows = insert(connection)?;
        let _ = insert_done.send(rows);
        Ok(())
    });
    assert!(asked.now_or_never().is_none());
    let dropping = std::thread::spawn(move || drop(threads));
    // One that did not wait would be done with it by now.
    std::thread::sleep(Duration::from_millis(20));
    assert!(!dropping.is_finished());
    drop(release);
    dropping.join().unwrap();
    assert_eq!(inserted.try_recv(), Ok(1), "before the drop was over");
}

#[test]
fn a_thread_that_has_the_last_use_of_them_can_drop_them() {
    let threads = Arc::new(thread(PATIENCE));
    let release = occupy(&threads);
    let (dropped, told) = channel();
    let last = threads.clone();
    let asked = threads.call(move |_| {
        let drop = catch_unwind(AssertUnwindSafe(|| drop(last)));
        let _ = dropped.send(drop.is_ok());
        Ok(())
    });
    assert!(asked.now_or_never().is_none());
    drop(threads);
    drop(release);
    let told = told.recv_timeout(PATIENCE);
    assert_eq!(told, Ok(true), "it waits for itself");
}

#[tokio::test]
async fn a_busy_thread_keeps_no_other_from_working() {
    let connections = (0..2).map(|_| Connection::open_in_memory().unwrap());
    let connections = connections.collect();
    let threads = Threads::start("test", Path::new("t.db"), connections, PATIENCE).unwrap();
    let _release = occupy(&threads);
    let other = threads.call(|_| Ok("done"));
    let done = tokio::time::timeout(Duration::from_secs(20), other).await;
    assert_eq!(done.expect("it waits for the busy one").unwrap(), "done");
}
