module confsec.invalid/interop-sev-guest

go 1.25.4

require (
	confsec.invalid/interop v0.0.0
	github.com/google/go-sev-guest v0.15.0
	github.com/google/logger v1.1.1
)

require (
	github.com/google/uuid v1.6.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/crypto v0.46.0 // indirect
	golang.org/x/sys v0.39.0 // indirect
	google.golang.org/protobuf v1.33.0 // indirect
)

replace confsec.invalid/interop => ../go
