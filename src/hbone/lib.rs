//! hbone
