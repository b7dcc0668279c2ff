"""The baseline: hold placement as a competent team writes it today, to measure Onebook against.

FastAPI and SQLAlchemy 2 on asyncpg; one transaction per hold. It checks a signed token, locks the nights it
sells, writes booking, items and an outbox event, and answers repeats of an idempotency key. It takes the
same `POST /v1/bookings` and `GET /v1/availability` as Onebook, so that one load script drives both. It does less than
Onebook: nights only, no alternatives, no other commands.
"""
