"""What has no rule on purpose: why, and what to write instead.

Row 3. Data only: the name of a callable, as users write it → the end of the sentence "… has no rule
in fungrad: …". Errors quote it, and the page of the docs that lists what is supported.
"""

from __future__ import annotations


def _for_all(*groups: tuple[str, str]) -> dict[str, str]:
    return {name: reason for names, reason in groups for name in names.split()}


_TEXT = "text carries no derivative; write: print(x), or return x and format its value"
_FILE = "a traced value can't be written to a file; write: return it, and save the result"
_BITS = "the bits of a number have no derivative; write: comparisons and powers of 2"
_DATE = "dates are no numbers to compute with; write: the number of days, computed before"
_MEMORY = "a traced value has no memory yet; write: x is y, or compare results"
_PYTHON = (
    "it runs Python for every entry, on plain numbers; write: the function itself on arrays, "
    "np.where for its branches, or fg.vmap(f)(x)"
)
_MATRIX = "np.matrix changes the meaning of operators; write: arrays, with @ for products"
_LIKE = (
    "NumPy lets nobody answer it, and returning plain arrays would lose the derivative; write: x "
    "itself, or np.asarray(x, like=x)"
)
_ITERATES = "iterators read memory; write: for row in x, or operations on whole arrays"
_HISTOGRAM = "write: np.bincount(bin_of_each, weights) with bins found by np.searchsorted"

_PURE = "traced programs are pure; write: a = "

REFUSALS: dict[str, str] = _for_all(
    ("np.copyto", f"{_PURE}np.where(where, src, a)"),
    ("np.put", f"{_PURE}fg.at(a.ravel())[ind].set(v).reshape(a.shape)"),
    ("np.place np.putmask", f"{_PURE}np.where(mask, values, a)"),
    ("np.fill_diagonal", f"{_PURE}fg.at(a)[i, i].set(value), i = np.arange(n)"),
    (
        "np.put_along_axis",
        f"{_PURE}fg.at(a)[np.arange(n)[:, None], indices].set(values) for axis 1",
    ),
    ("np.array2string np.array_repr np.array_str", _TEXT),
    ("np.save np.savetxt np.savez np.savez_compressed", _FILE),
    ("np.packbits np.unpackbits", _BITS),
    ("np.busday_count np.busday_offset np.is_busday np.datetime_as_string", _DATE),
    ("np.isnat", "NaT is a date; write: np.isnan(x)"),
    ("np.may_share_memory np.shares_memory", _MEMORY),
    ("np.isfortran", "a traced value has no memory layout; write: nothing, results are equal"),
    ("np.from_dlpack", "a traced value has no memory to share; write: x itself"),
    ("np.nested_iters", _ITERATES),
    ("np.vectorize np.frompyfunc", _PYTHON),
    ("np.asmatrix np.bmat np.matrix", _MATRIX),
    ("np.nditer np.ndenumerate np.broadcast", _ITERATES),
    ("np.recarray", "records are no numbers; write: one array for each field"),
    ("np.asarray_chkfinite", "write: np.asarray(x, like=x), after a check np.isfinite(x).all()"),
    ("np.mintypecode", "write: np.result_type(x).char"),
    ("np.typename", "write: np.typename(x.dtype.char)"),
    ("np.setxor1d", "write: np.concatenate([np.setdiff1d(a, b), np.setdiff1d(b, a)])"),
    ("np.histogram2d np.histogramdd", _HISTOGRAM),
    (
        "np.power.reduce np.float_power.reduce np.arctan2.reduce",
        "on some processors NumPy computes it wrongly; write: np.power.accumulate(x)[-1]",
    ),
    (
        "np.power.reduceat np.float_power.reduceat np.arctan2.reduceat",
        "on some processors NumPy computes it wrongly; write: np.power.accumulate of each part",
    ),
    ("np.kaiser", "write: np.i0(beta * np.sqrt(1 - t * t)) / np.i0(beta), t from -1 to 1"),
    # --- scipy.special: Python functions, which make plain arrays of what they get -----------------
    ("scipy.special.logsumexp", "write: fg.nn.logsumexp(x, axis=...)"),
    ("scipy.special.softmax", "write: fg.nn.softmax(x, axis=...)"),
    ("scipy.special.log_softmax", "write: fg.nn.log_softmax(x, axis=...)"),
    ("scipy.special.factorial", "write: scipy.special.gamma(n + 1)"),
    (
        "scipy.special.factorial2 scipy.special.factorialk",
        "write: k**((n - r) / k) * gamma(n / k + 1) / gamma(r / k + 1) * r, where r = n % k or k",
    ),
    ("scipy.special.comb", "write: scipy.special.binom(n, k)"),
    ("scipy.special.perm", "write: scipy.special.poch(n - k + 1, k)"),
    ("scipy.special.stirling2", "it counts; write: plain integers"),
    (
        "scipy.special.polygamma",
        "write: (-1)**(n + 1) * scipy.special.gamma(n + 1) * scipy.special.zeta(n + 1, x), or "
        "scipy.special.psi(x) for n = 0",
    ),
    (
        "scipy.special.multigammaln",
        "write: d * (d - 1) / 4 * np.log(np.pi) + np.sum(scipy.special.gammaln(a - np.arange(d) / 2))",
    ),
    ("scipy.special.diric", "write: np.sin(n * x / 2) / (n * np.sin(x / 2))"),
    (
        "scipy.special.spherical_jn scipy.special.spherical_yn",
        "write: np.sqrt(np.pi / (2 * z)) * scipy.special.jv(n + 0.5, z), or yv",
    ),
    (
        "scipy.special.spherical_in scipy.special.spherical_kn",
        "write: np.sqrt(np.pi / (2 * z)) * scipy.special.iv(n + 0.5, z), or np.sqrt(np.pi / (2 * "
        "z)) * scipy.special.kv(n + 0.5, z)",
    ),
    (
        "scipy.special.legendre_p scipy.special.legendre_p_all scipy.special.lqn "
        "scipy.special.sph_legendre_p_all scipy.special.sph_legendre_p "
        "scipy.special.assoc_legendre_p_all scipy.special.assoc_legendre_p scipy.special.lqmn",
        "SciPy asks for plain arrays; write: scipy.special.eval_legendre(n, x), and (1 - x * x)**m "
        "times its derivatives for the associated functions",
    ),
    (
        "scipy.special.sph_harm_y scipy.special.sph_harm_y_all",
        "SciPy asks for plain arrays; write: np.exp(1j * m * phi) times a polynomial in cos(theta)",
    ),
    (
        "scipy.special.ellip_harm scipy.special.ellip_harm_2 scipy.special.ellip_normal "
        "scipy.special.ellip_harm_2",
        "its derivative is not known in closed form; write: a rule of your own (fg.extend)",
    ),
    (
        "scipy.special.lmbda scipy.special.mathieu_even_coef scipy.special.mathieu_odd_coef "
        "scipy.special.obl_cv_seq scipy.special.pro_cv_seq scipy.special.pbdn_seq "
        "scipy.special.pbdv_seq scipy.special.pbvv_seq scipy.special.riccati_jn "
        "scipy.special.riccati_yn",
        "SciPy takes plain numbers only; write: float(fg.stop_gradient(x)), if that is meant",
    ),
    # --- scipy.special: ufuncs ---------------------------------------------------------------------
    (
        "scipy.special.bdtri scipy.special.nbdtri",
        "write: scipy.special.betaincinv of the parameters that betainc takes there",
    ),
    (
        "scipy.special.bdtrik scipy.special.bdtrin scipy.special.btdtria scipy.special.btdtrib "
        "scipy.special.chdtriv scipy.special.chndtridf scipy.special.chndtrinc "
        "scipy.special.fdtridfd scipy.special.gdtrib scipy.special.nbdtrik scipy.special.nbdtrin "
        "scipy.special.ncfdtridfd scipy.special.ncfdtridfn scipy.special.ncfdtrinc "
        "scipy.special.nctdtridf scipy.special.nctdtrinc scipy.special.pdtrik "
        "scipy.special.stdtridf",
        "the derivative by a parameter of a distribution is not known in closed form; write: a "
        "rule of your own (fg.extend)",
    ),
    (
        "scipy.special.chndtr scipy.special.chndtrix scipy.special.ncfdtr scipy.special.ncfdtri "
        "scipy.special.nctdtr scipy.special.nctdtrit scipy.special.tklmbda",
        "the density of this distribution is no function of scipy.special; write: a rule of your "
        "own (fg.extend)",
    ),
    (
        "scipy.special.kolmogorov scipy.special.kolmogi scipy.special.smirnov "
        "scipy.special.smirnovi",
        "the density of the Kolmogorov-Smirnov statistic is no function of scipy.special; write: a "
        "rule of your own (fg.extend)",
    ),
    (
        "scipy.special.elliprc scipy.special.elliprd scipy.special.elliprf scipy.special.elliprg "
        "scipy.special.elliprj scipy.special.ellipj scipy.special.agm",
        "no rule is written; write: scipy.special.ellipk and ellipe, or a rule of your own "
        "(fg.extend)",
    ),
    (
        "scipy.special.mathieu_a scipy.special.mathieu_b scipy.special.mathieu_cem "
        "scipy.special.mathieu_modcem1 scipy.special.mathieu_modcem2 "
        "scipy.special.mathieu_modsem1 scipy.special.mathieu_modsem2 scipy.special.mathieu_sem "
        "scipy.special.obl_ang1 scipy.special.obl_ang1_cv scipy.special.obl_cv "
        "scipy.special.obl_rad1 scipy.special.obl_rad1_cv scipy.special.obl_rad2 "
        "scipy.special.obl_rad2_cv scipy.special.pro_ang1 scipy.special.pro_ang1_cv "
        "scipy.special.pro_cv scipy.special.pro_rad1 scipy.special.pro_rad1_cv "
        "scipy.special.pro_rad2 scipy.special.pro_rad2_cv scipy.special.pbdv scipy.special.pbvv "
        "scipy.special.pbwa",
        "SciPy gives the function with its derivative, and no more derivatives; write: a rule of "
        "your own (fg.extend)",
    ),
    (
        "scipy.special.kelvin scipy.special.bei scipy.special.beip scipy.special.ber "
        "scipy.special.berp scipy.special.kei scipy.special.keip scipy.special.ker "
        "scipy.special.kerp",
        "write: the real or imaginary part of scipy.special.jv(0, x * np.exp(0.75j * np.pi)), or "
        "of scipy.special.kv(0, x * np.exp(0.25j * np.pi))",
    ),
    ("scipy.special.hankel1e", "write: scipy.special.hankel1(v, z) * np.exp(-1j * z)"),
    ("scipy.special.hankel2e", "write: scipy.special.hankel2(v, z) * np.exp(1j * z)"),
    ("scipy.special.jve", "write: scipy.special.jv(v, z) * np.exp(-np.abs(np.imag(z)))"),
    ("scipy.special.yve", "write: scipy.special.yv(v, z) * np.exp(-np.abs(np.imag(z)))"),
    ("scipy.special.airye", "write: scipy.special.airy(z) times the exponentials"),
    (
        "scipy.special.it2i0k0 scipy.special.it2j0y0 scipy.special.it2struve0 "
        "scipy.special.itairy scipy.special.iti0k0 scipy.special.itj0y0 "
        "scipy.special.itmodstruve0 scipy.special.itstruve0 scipy.special.besselpoly",
        "an integral whose integrand scipy.special has; write: a rule of your own (fg.extend)",
    ),
    (
        "scipy.special.struve scipy.special.modstruve scipy.special.modfresnelm "
        "scipy.special.modfresnelp scipy.special.lpmv",
        "no rule is written; write: a rule of your own (fg.extend)",
    ),
    (
        "scipy.special.wright_bessel scipy.special.log_wright_bessel",
        "its derivatives by a and b are no functions of scipy.special; write: a rule of your own "
        "(fg.extend)",
    ),
    (
        "scipy.special.voigt_profile",
        "write: np.real(scipy.special.wofz(z)) / (sigma * np.sqrt(2 * np.pi)), where z is "
        "(x + 1j * gamma) / (sigma * np.sqrt(2))",
    ),
    ("scipy.special.wrightomega", "write: scipy.special.lambertw(np.exp(z)), where that is finite"),
    (
        "scipy.special.ellipkinc scipy.special.ellipeinc",
        "no rule is written; write: scipy.special.ellipk or ellipe, or a rule of your own "
        "(fg.extend)",
    ),
    ("scipy.special.zetac", "write: scipy.special.zeta(x) - 1, whose derivative is not known"),
    # --- what makes plain arrays without asking ----------------------------------------------------
    ("np.asarray np.asanyarray np.ascontiguousarray np.asfortranarray np.require", _LIKE),
)
