"""Rate plans, taxes, policies and coupons: what things cost."""

from litestar.handlers import HTTPRouteHandler

ROUTES: tuple[HTTPRouteHandler, ...] = ()
