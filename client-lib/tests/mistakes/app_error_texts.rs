use ipc_client::AppError;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, AppError)]
#[code = 1]
#[text = "there is no field {missing}"]
struct Misquoted {
    present: u8,
}

fn main() {}
