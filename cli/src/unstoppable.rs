//! What the process does when JavaScript runs on that cannot be ended.

use portside_runtime::Unstoppable;

/// The exit code then, `EX_SOFTWARE` of sysexits.h.
const EXIT: i32 = 70;

/// Says which worker it is and ends the process: a pod's container is started anew, a standby takes over meanwhile.
pub fn give_up(unstoppable: &Unstoppable) {
    eprintln!("portside: {unstoppable}");
    std::process::exit(EXIT);
}
