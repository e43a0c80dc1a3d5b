// Package programs runs the program beside other real ones: InfluxDB 1.6.7 and
// 2.9.1, PostgreSQL, RabbitMQ, telegraf, promtool, a stock ipfs. Build tag programs;
// make test-programs installs what it needs.
package programs
