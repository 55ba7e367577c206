"""The printer that C99 and OpenCL C share. What differs between them is a `Dialect`, which is data."""
