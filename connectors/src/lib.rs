//! Where the bytes are: a `Binding` in, an Arrow `TableProvider` and a keyed look-up out.
