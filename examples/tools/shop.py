"""Ten tools of a small shop's back office: functions with hints and docstrings, as one would write them anyway."""

from __future__ import annotations

import datetime
from typing import Literal

Warehouse = Literal["north", "south", "harbour"]

ORDERS = {
    "O-5117": ("C-204", "LMP-31", 3, "2025-02-11", "north"),
    "O-5142": ("C-318", "KTL-08", 12, "2025-02-27", "harbour"),
    "O-5190": ("C-127", "RUG-77", 1, "2025-03-05", "south"),
    "O-5203": ("C-451", "CHR-19", 4, "2025-03-18", "north"),
    "O-5266": ("C-318", "LMP-31", 2, "2025-04-02", "south"),
    "O-5301": ("C-563", "DSK-42", 1, "2025-04-21", "harbour"),
    "O-5348": ("C-204", "MIR-65", 5, "2025-05-09", "south"),
    "O-5399": ("C-689", "KTL-08", 6, "2025-05-30", "north"),
}
CUSTOMERS = {
    "C-127": ("Marit Dalgaard", "Aalborg", 1240, "2017-09-14"),
    "C-204": ("Teodor Brankov", "Varna", 385, "2021-03-02"),
    "C-318": ("Ilse Overmars", "Zwolle", 2917, "2014-11-23"),
    "C-451": ("Ronan Feeney", "Sligo", 760, "2019-06-30"),
    "C-563": ("Pilar Quintana", "Murcia", 1588, "2016-01-19"),
    "C-689": ("Jaako Lehtola", "Vaasa", 142, "2023-08-07"),
}
PRODUCTS = {
    "LMP-31": ("Juniper desk lamp", "Halvorsen Lighting", 1450, 5490),
    "KTL-08": ("Copper stove kettle", "Brassworks Ostend", 980, 3875),
    "RUG-77": ("Fjord wool rug", "Weaver & Loom", 6320, 18900),
    "CHR-19": ("Stackable birch chair", "Talo Furniture", 4175, 7250),
    "DSK-42": ("Folding writing desk", "Talo Furniture", 14800, 24600),
    "MIR-65": ("Round hallway mirror", "Lumen Glass", 3560, 6430),
}
SUPPLIERS = {
    "Halvorsen Lighting": ("Norway", "Signe Halvorsen", 17),
    "Brassworks Ostend": ("Belgium", "Lieven Maes", 11),
    "Weaver & Loom": ("Ireland", "Orla Kinsella", 28),
    "Talo Furniture": ("Finland", "Eero Salminen", 35),
    "Lumen Glass": ("Czechia", "Hana Kopecka", 23),
}
STOCK = {
    ("LMP-31", "north"): (214, "A-07"), ("LMP-31", "south"): (58, "C-22"), ("LMP-31", "harbour"): (137, "F-03"),
    ("KTL-08", "north"): (342, "A-15"), ("KTL-08", "south"): (191, "C-04"), ("KTL-08", "harbour"): (426, "F-18"),
    ("RUG-77", "north"): (23, "B-01"), ("RUG-77", "south"): (61, "D-09"), ("RUG-77", "harbour"): (38, "G-12"),
    ("CHR-19", "north"): (165, "B-11"), ("CHR-19", "south"): (284, "D-30"), ("CHR-19", "harbour"): (97, "G-26"),
    ("DSK-42", "north"): (46, "B-19"), ("DSK-42", "south"): (72, "D-14"), ("DSK-42", "harbour"): (119, "G-08"),
    ("MIR-65", "north"): (88, "A-29"), ("MIR-65", "south"): (153, "C-17"), ("MIR-65", "harbour"): (205, "F-24"),
}  # fmt: skip
SITES = {
    "north": ("Tromso", "Asbjorn Vik", "2009-05-18"),
    "south": ("Ghent", "Femke Claes", "2015-10-06"),
    "harbour": ("Bremerhaven", "Uwe Petersen", "2020-02-24"),
}
ZONES = {"Aalborg": 2, "Varna": 5, "Zwolle": 1, "Sligo": 4, "Murcia": 4, "Vaasa": 3}
RATES = {"USD": 1.0832, "GBP": 0.8419, "SEK": 11.2745, "CHF": 0.9527}


def _row(table: dict, key: str, what: str) -> tuple:
    """The row of a table; names are compared without regard to case and surrounding spaces."""
    rows = {name.lower(): row for name, row in table.items()}
    row = rows.get(str(key).strip().lower())
    if row is None:
        raise ValueError(f"there is no {what} of that name or number")
    return row


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError("dates are written YYYY-MM-DD") from None


def get_order(order_id: str) -> dict:
    """Look up an order.

    Args:
        order_id: Number of the order, with its letter.
    """
    customer, product, quantity, ordered_on, warehouse = _row(ORDERS, order_id, "order")
    return {
        "customer_id": customer,
        "product_code": product,
        "quantity": quantity,
        "ordered_on": ordered_on,
        "shipped_from": warehouse,
    }


def get_customer(customer_id: str) -> dict:
    """Look up a customer's record.

    Args:
        customer_id: Number of the customer, with its letter.
    """
    name, city, points, since = _row(CUSTOMERS, customer_id, "customer")
    return {"name": name, "city": city, "loyalty_points": points, "member_since": since}


def get_product(product_code: str) -> dict:
    """Look up a product in the catalogue.

    Args:
        product_code: Code of the product: three letters and a number.
    """
    title, supplier, weight, price = _row(PRODUCTS, product_code, "product")
    return {"title": title, "supplier": supplier, "weight_g": weight, "price_cents": price}


def get_supplier(supplier: str) -> dict:
    """Look up a supplier in the address book.

    Args:
        supplier: Name of the company.
    """
    country, contact, lead_time = _row(SUPPLIERS, supplier, "supplier")
    return {"country": country, "contact": contact, "lead_time_days": lead_time}


def check_stock(product_code: str, warehouse: Warehouse) -> dict:
    """Check how many pieces of a product lie in a warehouse.

    Args:
        product_code: Code of the product: three letters and a number.
        warehouse: Which warehouse.
    """
    _row(PRODUCTS, product_code, "product")
    if warehouse not in SITES:
        raise ValueError("warehouse must be north, south or harbour")
    units, shelf = STOCK[str(product_code).strip().upper(), warehouse]
    return {"units": units, "shelf": shelf}


def get_warehouse(warehouse: Warehouse) -> dict:
    """Look up where a warehouse is and who runs it.

    Args:
        warehouse: Which warehouse.
    """
    if warehouse not in SITES:
        raise ValueError("warehouse must be north, south or harbour")
    town, manager, opened = SITES[warehouse]
    return {"town": town, "manager": manager, "opened_on": opened}


def quote_shipping(city: str, weight_g: int, express: bool = False) -> dict:
    """Quote the shipping of a parcel.

    Args:
        city: Where the parcel goes.
        weight_g: Its weight in grams.
        express: Whether it is to arrive the next working day.
    """
    zone = _row(ZONES, city, "city that we deliver to")
    if type(weight_g) is not int or not 0 < weight_g <= 30000:
        raise ValueError("weight_g must be a whole number from 1 to 30000")
    cents = 395 + 140 * zone + weight_g * (11 + zone) // 100
    return {"shipping_cents": cents * 2 if express else cents, "tariff": f"Z{zone}-{'X' if express else 'S'}{weight_g}"}


def convert_price(price_cents: int, currency: Literal["USD", "GBP", "SEK", "CHF"]) -> dict:
    """Convert a price in euro cents into another currency.

    Args:
        price_cents: The price in euro cents.
        currency: The currency that is wanted.
    """
    if type(price_cents) is not int or price_cents <= 0:
        raise ValueError("price_cents must be a whole number above 0")
    if currency not in RATES:
        raise ValueError("currency must be USD, GBP, SEK or CHF")
    return {"amount": round(price_cents * RATES[currency] / 100, 2)}


def find_return_deadline(ordered_on: str, opened: bool = False) -> dict:
    """Find the last day on which an order can be sent back.

    Args:
        ordered_on: Day of the order, as YYYY-MM-DD.
        opened: Whether the parcel was opened, which leaves less time.
    """
    day = _day(ordered_on)
    return {"return_by": (day + datetime.timedelta(days=14 if opened else 45)).isoformat()}


def rate_loyalty(loyalty_points: int) -> dict:
    """Rate a customer's loyalty by the points that they have collected.

    Args:
        loyalty_points: Points on the customer's account.
    """
    if type(loyalty_points) is not int or loyalty_points < 0:
        raise ValueError("loyalty_points must be a whole number, 0 or more")
    tiers = ("Pebble", "Quartz", "Garnet", "Sapphire")
    tier = tiers[min(3, loyalty_points // 500)]
    return {"tier": tier, "voucher_cents": 150 + loyalty_points * 7 // 5}


if __name__ == "__main__":
    print(get_order("O-5117"))
