module github.com/bhojpur/kernel/tests/firecracker

go 1.19
