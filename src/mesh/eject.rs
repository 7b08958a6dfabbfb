//! Passive ejection of endpoints that refuse connections.
