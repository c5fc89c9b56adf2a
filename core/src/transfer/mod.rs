//! Moving bytes: the machines of downloading and serving, and their driver.
