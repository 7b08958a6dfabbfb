//! How the variants of the mesh are spelled, in files and in dumps alike.
