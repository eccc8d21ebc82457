use ipc_client::AppError;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, AppError)]
enum CalcError {
    #[code = 2]
    #[text = "too large"]
    TooLarge,
    #[code = 2]
    #[text = "too small"]
    TooSmall,
    #[text = "odd"]
    Odd,
    #[code = 64]
    #[text = "even"]
    Even,
    #[code = 5]
    Silent,
    #[code = "six"]
    Six,
    #[code = 7]
    #[nested]
    #[text = "nested"]
    Nested,
}

fn main() {}
