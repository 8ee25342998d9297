module confsec.invalid/interop-tdx-guest

go 1.25.4

require (
	confsec.invalid/interop v0.0.0
	github.com/google/go-tdx-guest v0.3.1
	github.com/google/logger v1.1.1
)

require (
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/crypto v0.46.0 // indirect
	golang.org/x/sys v0.39.0 // indirect
	google.golang.org/protobuf v1.31.0 // indirect
)

replace confsec.invalid/interop => ../go
