-- What things cost: the rate plans, taxes and policies of each venue. A row's document is a struct of model/offers, put whole.

CREATE TABLE rate_plan (
    venue_id integer NOT NULL REFERENCES venue,
    code     text COLLATE "C" NOT NULL,
    document json NOT NULL,
    -- Two plans under one code would leave open which of them a quote means.
    CONSTRAINT rate_plan_code_is_unique PRIMARY KEY (venue_id, code)
);

CREATE TABLE tax (
    venue_id integer NOT NULL REFERENCES venue,
    code     text COLLATE "C" NOT NULL,
    document json NOT NULL,
    -- A tax that stands there twice would be charged twice.
    CONSTRAINT tax_code_is_unique PRIMARY KEY (venue_id, code)
);

CREATE TABLE policy (
    venue_id integer NOT NULL REFERENCES venue,
    code     text COLLATE "C" NOT NULL,
    document json NOT NULL,
    -- Two policies under one code would leave open what a cancellation costs.
    CONSTRAINT policy_code_is_unique PRIMARY KEY (venue_id, code)
);

CREATE VIEW offer AS
SELECT venue_id, 'rate' AS kind, code, document FROM rate_plan
UNION ALL SELECT venue_id, 'tax', code, document FROM tax
UNION ALL SELECT venue_id, 'policy', code, document FROM policy;

-- Which change of offers was the last of each venue. Who remembers prices asks for those above the last that it has seen.
CREATE TABLE offer_version (
    venue_id integer PRIMARY KEY REFERENCES venue,
    version  bigint NOT NULL,
    -- Two changes under one number would let a reader miss one of them.
    CONSTRAINT offer_version_is_of_one_change UNIQUE (version)
);

-- Where it is set, nobody who sells there confirms a booking that was not paid for: only its checkout does, or the venue's own desk.
ALTER TABLE venue ADD COLUMN prepaid boolean NOT NULL DEFAULT false;
