use super::*;

#[test]
fn steps_are_taken_once() {
    let mut connection = Connection::open_in_memory().unwrap();
    bring_up_to_date(&mut connection).unwrap();
    bring_up_to_date(&mut connection).unwrap();
    let sql = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    let taken: u32 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(taken as usize, STEPS.iter().count());
}

#[test]
fn steps_that_others_took_are_refused_and_nothing_is_changed() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(TABLE).unwrap();
    let other = "INSERT INTO _sqlx_migrations \
        (version, description, success, checksum, execution_time) VALUES (1, 'init', true, x'00', 0)";
    connection.execute(other, []).unwrap();
    let error = bring_up_to_date(&mut connection).unwrap_err().to_string();
    assert!(error.contains("a step 1 that this version"), "{error}");
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'";
    let tables: u32 = connection.query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

/// Step 1 as sqlx recorded it: a change of the file, a comment's included, would lock out every database there is.
#[test]
fn the_first_step_is_the_one_that_files_have() {
    let first = STEPS.iter().next().unwrap();
    let checksum: String = first
        .checksum
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        checksum,
        "7d8686a402616bc5b223646032e68f57bb98810ebf1b7e0d9543b2e077d886e8f1f1d7428b016287d408164283b0ab9a"
    );
}
