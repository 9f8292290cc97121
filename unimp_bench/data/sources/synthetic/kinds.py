"""What the synthetic shop sells: 35 kinds of things in the paper's seven domains.

Each kind is a leaf of the category tree. Nothing here depends on style: colour and pattern words are avoided on
purpose, so that titles and descriptions cannot give away what only the picture shows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of product."""

    leaf: str  # last level of the category path
    noun: str  # as a title or a review says it
    shape: str  # key of `shapes.SHAPES`
    price_usd: float  # of a mid-priced one
    features: tuple[str, str]  # nouns that reviews praise or blame for quality
    materials: tuple[str, str, str]
    use: str


@dataclass(frozen=True)
class Department:
    """One domain: its official file name, the root of its category paths and its kinds in sections."""

    domain: str  # snake case of the official name
    official: str  # as in `reviews_<official>_5.json.gz`
    root: str
    sections: tuple[str, str, str, str]
    kinds: tuple[Kind, Kind, Kind, Kind, Kind]


DEPARTMENTS: tuple[Department, ...] = (
    Department(
        "baby",
        "Baby",
        "Baby",
        ("Nursery", "Feeding", "Strollers & Travel", "Bathing"),
        (
            Kind("Blankets", "blanket", "blanket", 24, ("fleece", "edging"), ("cotton", "bamboo", "wool"), "naps"),
            Kind("Bibs", "bib", "bib", 9, ("snap", "lining"), ("terry cloth", "cotton", "silicone"), "first meals"),
            Kind("Baby Bottles", "bottle", "bottle", 12, ("nipple", "valve"), ("glass", "steel", "resin"), "feeding"),
            Kind("Diaper Bags", "diaper bag", "bag", 46, ("zipper", "strap"), ("canvas", "nylon", "felt"), "outings"),
            Kind("Sun Hats", "sun hat", "hat", 15, ("brim", "chin cord"), ("cotton", "linen", "straw"), "walks"),
        ),
    ),
    Department(
        "beauty",
        "Beauty",
        "Beauty",
        ("Everyday Care", "Salon", "Travel Size", "Gift Sets"),
        (
            Kind("Lipsticks", "lipstick", "lipstick", 14, ("formula", "cap"), ("wax", "oil", "butter"), "long days"),
            Kind("Nail Polish", "nail polish", "flask", 8, ("brush", "finish"), ("lacquer", "gel", "resin"), "home"),
            Kind("Shampoos", "shampoo", "bottle", 13, ("scent", "lather"), ("aloe", "argan", "oat"), "daily washing"),
            Kind(
                "Makeup Bags", "makeup bag", "pouch", 18, ("zipper", "lining"), ("canvas", "satin", "nylon"), "travel"
            ),
            Kind("Hand Creams", "hand cream", "tube", 10, ("scent", "texture"), ("shea", "almond", "honey"), "winter"),
        ),
    ),
    Department(
        "clothing_shoes_and_jewelry",
        "Clothing_Shoes_and_Jewelry",
        "Clothing, Shoes & Jewelry",
        ("Women", "Men", "Girls", "Boys"),
        (
            Kind("Fashion Sneakers", "sneaker", "shoe", 54, ("sole", "insole"), ("canvas", "suede", "mesh"), "town"),
            Kind("T-Shirts", "t-shirt", "shirt", 21, ("fabric", "stitching"), ("cotton", "linen", "jersey"), "leisure"),
            Kind("Scarves", "scarf", "scarf", 25, ("fabric", "hem"), ("wool", "silk", "modal"), "cool evenings"),
            Kind("Handbags", "handbag", "bag", 62, ("clasp", "strap"), ("leather", "canvas", "cork"), "the office"),
            Kind("Caps", "cap", "cap", 19, ("visor", "strap"), ("twill", "wool", "denim"), "sunny days"),
        ),
    ),
    Department(
        "grocery_and_gourmet_food",
        "Grocery_and_Gourmet_Food",
        "Grocery & Gourmet Food",
        ("Organic", "Gluten Free", "Pantry", "Gourmet Gifts"),
        (
            Kind("Tea", "tea", "tin", 12, ("aroma", "flavor"), ("leaves", "herbs", "rooibos"), "slow mornings"),
            Kind("Cookies", "cookie box", "box", 9, ("crust", "filling"), ("butter", "oats", "almonds"), "guests"),
            Kind("Coffee", "coffee", "sack", 15, ("aroma", "roast"), ("arabica", "robusta", "decaf"), "early starts"),
            Kind("Jams", "jam", "jar", 8, ("taste", "texture"), ("plums", "apricots", "figs"), "breakfast"),
            Kind("Chocolate", "chocolate", "bar", 7, ("taste", "cocoa"), ("cocoa", "nuts", "sea salt"), "evenings"),
        ),
    ),
    Department(
        "sports_and_outdoors",
        "Sports_and_Outdoors",
        "Sports & Outdoors",
        ("Camping", "Fitness", "Team Sports", "Cycling"),
        (
            Kind(
                "Water Bottles",
                "water bottle",
                "flask",
                19,
                ("lid", "seal"),
                ("steel", "glass", "tritan"),
                "rides",
            ),
            Kind("Yoga Mats", "yoga mat", "roll", 31, ("grip", "cushion"), ("rubber", "cork", "foam"), "practice"),
            Kind(
                "Backpacks", "backpack", "backpack", 58, ("zipper", "padding"), ("nylon", "canvas", "ripstop"), "trails"
            ),
            Kind("Tents", "tent", "tent", 118, ("pole", "floor"), ("nylon", "polyester", "canvas"), "two sleepers"),
            Kind(
                "Gym Towels",
                "gym towel",
                "blanket",
                14,
                ("weave", "hem"),
                ("microfiber", "cotton", "bamboo"),
                "drills",
            ),
        ),
    ),
    Department(
        "toys_and_games",
        "Toys_and_Games",
        "Toys & Games",
        ("Preschool", "Family", "Outdoor Play", "Collectibles"),
        (
            Kind("Jigsaw Puzzles", "puzzle", "box", 16, ("cut", "fit"), ("cardboard", "wood", "cork"), "evenings"),
            Kind(
                "Building Blocks",
                "block set",
                "blocks",
                29,
                ("joint", "edge"),
                ("wood", "plastic", "foam"),
                "toddlers",
            ),
            Kind("Kites", "kite", "kite", 18, ("tail", "frame"), ("nylon", "paper", "ripstop"), "windy beaches"),
            Kind("Playground Balls", "ball", "ball", 11, ("bounce", "seam"), ("rubber", "vinyl", "foam"), "yards"),
            Kind(
                "Stuffed Animals",
                "plush bear",
                "bear",
                22,
                ("fur", "stuffing"),
                ("plush", "cotton", "mohair"),
                "naps",
            ),
        ),
    ),
    Department(
        "office_products",
        "Office_Products",
        "Office Products",
        ("School Supplies", "Desk Accessories", "Home Office", "Mailing"),
        (
            Kind("Notebooks", "notebook", "book", 11, ("binding", "paper"), ("pulp", "kraft", "vellum"), "notes"),
            Kind("Pens", "pen", "pen", 9, ("ink", "nib"), ("brass", "resin", "aluminum"), "long letters"),
            Kind("Folders", "folder", "folder", 7, ("tab", "pocket"), ("cardstock", "poly", "felt"), "records"),
            Kind(
                "Pencil Cases", "pencil case", "pouch", 13, ("zipper", "lining"), ("canvas", "felt", "nylon"), "school"
            ),
            Kind("Desk Mugs", "desk mug", "mug", 12, ("handle", "glaze"), ("stoneware", "steel", "glass"), "breaks"),
        ),
    ),
)
NEW_DOMAIN = "office_products"  # a world of its own: no transition leads into it or out of it

# Four houses of brands. A customer is loyal to one house; which brand belongs to which is for the data to tell.
BRAND_GROUPS: tuple[tuple[str, ...], ...] = (
    ("Norvale", "Tamsin & Co", "Hollis Works", "Pellworth", "Arden Lane", "Kestrel Mill"),
    ("O'Hara Goods", "Birchfield", "Luma", "Quillon", "Sandgate", "Verity"),
    ("Caf\xe9 Rond", "Marlowe", "Eastwick", "Tolliver", "Brightwater", "Fen & Field"),
    ("Zephyr", "Oakum", "Dunmore's", "Ivory Coast Trading", "Palmetto", "Wren"),
)
LINES: tuple[str, ...] = (
    "Classic", "Everyday", "Compact", "Original", "Traveler", "Weekend", "Harbor", "Studio", "Meadow", "Summit",
    "Companion", "Heritage", "Pioneer", "Comfort", "Atlas", "Cottage", "Metro", "Signature", "Junction", "Lakeside",
)  # fmt: skip
