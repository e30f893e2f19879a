use std::time::Duration;

#[test]
fn always_passes() {}

#[test]
#[ignore = "to be counted as skipped"]
fn is_skipped() {}

#[test]
fn does_what_the_scenario_says() {
    match std::env::var("SCENARIO").unwrap().as_str() {
        "huge" => {
            for _ in 0..3000 {
                println!("{}", "x".repeat(1000));
            }
        }
        "crash" => std::process::abort(),
        "hang" => {
            println!("hanging");
            std::thread::sleep(Duration::from_secs(3600));
        }
        scenario => assert_ne!(scenario, "fail", "asked to fail"),
    }
}
