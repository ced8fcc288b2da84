package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// usage is the CPU time that a server and Redis had used when a turn began.
type usage struct {
	serverPID, redisPID int
	server, redis       float64
}

func beginUsage(serverPID, redisPID int) (usage, error) {
	u := usage{serverPID: serverPID, redisPID: redisPID}
	var err error
	u.server, u.redis, err = u.read()
	return u, err
}

// end sets what the turn has used.
func (u usage) end(l *Load) error {
	server, redis, err := u.read()
	l.ServerSeconds, l.RedisSeconds = server-u.server, redis-u.redis
	return err
}

func (u usage) read() (server, redis float64, err error) {
	server, errServer := processCPU(u.serverPID)
	redis, errRedis := processCPU(u.redisPID)
	return server, redis, errors.Join(errServer, errRedis)
}

// ticks is how many units of /proc/PID/stat make a second: USER_HZ, which is 100 on
// every architecture that Go runs on.
const ticks = 100

// processCPU returns the CPU time of a process in seconds, user and system.
func processCPU(pid int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	// The second field, the name, may hold spaces. utime and stime are fields 14 and 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the CPU time of process %d: %q", pid, stat)
	}
	user, errUser := strconv.ParseFloat(string(fields[11]), 64)
	system, errSystem := strconv.ParseFloat(string(fields[12]), 64)
	return (user + system) / ticks, errors.Join(errUser, errSystem)
}

// ownCPU returns the CPU time of this process in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}
