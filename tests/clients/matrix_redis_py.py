"""redis-py against Podium."""

import redis

from matrix_common import run

run(redis.Redis, "redis-py")
